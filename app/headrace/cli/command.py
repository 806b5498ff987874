"""What the commands share: they load the settings, and an error of ours ends them with one message."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NoReturn

from headrace.cli.console import fail

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.store.database import Database

_INTERRUPTED = 130  # 128 + SIGINT: the status that shells use for Ctrl-C


def load_settings(**overrides: object) -> "Config":
    """Loads the settings, sets up logging, and warns of HEADRACE_ variables that are no setting."""
    from headrace.config import MLFLOW_DEFAULTS, load, meant, unknown_variables
    from headrace.telemetry.logging import configure_logging, log

    os.environ.update(MLFLOW_DEFAULTS | os.environ)
    config = load(**overrides)
    configure_logging(config.log_format, config.log_level)
    for name in unknown_variables(dict(os.environ)):
        log.warning("unknown setting ignored", variable=name, meant=meant(name))
    return config


@contextmanager
def open_database() -> Iterator[tuple["Config", "Database"]]:
    """The settings, and the database of HEADRACE_DATABASE_URL or of a running `headrace up`. A `HeadraceError` inside becomes
    one message and exit status 1."""
    from headrace.config import MLFLOW_DEFAULTS, load
    from headrace.errors import HeadraceError
    from headrace.store.database import Database
    from headrace.telemetry.logging import configure_logging

    try:
        os.environ.update(MLFLOW_DEFAULTS | os.environ)
        config = load()
        configure_logging(config.log_format, config.log_level)
        with closing(Database(database_url(config))) as database:
            yield config, database
    except HeadraceError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def database_url(config: "Config") -> str:
    """The URL of HEADRACE_DATABASE_URL, or of a running `headrace up`.

    Raises:
        StartError: there is neither.
    """
    from headrace.errors import StartError
    from headrace.local.postgres import running_postgres

    url = config.database_url.get_secret_value() if config.database_url else running_postgres(config.data_dir)
    if url is None:
        raise StartError(
            f"HEADRACE_DATABASE_URL is not set, and no `headrace up` runs on {config.data_dir}: set the one, or start the "
            "other (HEADRACE_DATA_DIR says where)."
        )
    return url


def run(command: Callable[[], None]) -> None:
    """Runs a command. A `HeadraceError` becomes one message and exit status 1; Ctrl-C and SIGTERM end it cleanly."""
    from headrace.errors import HeadraceError
    from headrace.mlflow.libraries import leave_out_libraries

    leave_out_libraries()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command()
    except KeyboardInterrupt:
        pass
    except HeadraceError as error:
        fail(error)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
