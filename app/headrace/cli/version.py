"""`headrace --version`: Headrace, MLflow, the shapes of MLflow's tables that are written, and what the database has."""

import logging
import os
import threading

from headrace import __version__

_SECONDS = 5.0


def versions() -> list[str]:
    """One line for each thing that has a version: Headrace, and the MLflow whose code it runs. Does not import MLflow."""
    from headrace.mlflow.installed import distribution

    found = distribution()
    return [f"headrace {__version__}", f"MLflow {found[1]} ({found[0]})" if found else "MLflow is missing"]


def tables() -> list[str]:
    """Which of MLflow's tables are written, and which the database has. It is asked only where HEADRACE_DATABASE_URL is set,
    for a few seconds. Never raises."""
    from headrace.mlflow.installed import newest_revision
    from headrace.mlflow.shape.known import SHAPES

    url = os.environ.get("HEADRACE_DATABASE_URL", "")
    shapes = ", or with ".join(str(shape) for shape in SHAPES)
    lines = [f"writes MLflow's tables with {shapes}; this MLflow makes them at revision {newest_revision() or 'unknown'}"]
    return [*lines, f"database: {_asked(url)}"] if url else lines


def _asked(url: str) -> str:
    """Asks in a thread, and waits for it only so long: a database can hang in many ways."""
    answers: list[str] = []
    logging.disable(logging.CRITICAL)
    asking = threading.Thread(target=lambda: answers.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return answers[0] if answers else f"no answer within {_SECONDS:g} s"


def _ask(url: str) -> str:
    from headrace.errors import HeadraceError
    from headrace.mlflow.shape import look
    from headrace.store.database import Database

    try:
        database = Database(url)
        with database.begin() as connection:
            schema = look(connection)
    except HeadraceError as error:
        return f"cannot be asked: {error}"
    except Exception as error:  # a URL that is none: its text may hold the password
        return f"cannot be asked: {type(error).__name__}"
    if schema is None:
        return "has no tables of MLflow"
    return f"revision {schema.revision}, {schema.shape or f'of another shape: {schema.differences[0]}'}"
