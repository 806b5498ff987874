"""The user's settings: the environment (`HEADRACE_*`) → one frozen `Config`.

Each concern has a module with a small model of its settings:

    store       Postgres, and the data directory
    listen      addresses, ports and processes
    routing     which experiment a span goes to
    access      TLS and API keys
    limits      how much clients may send
    queue       how much waits on disk
    writing     what is made of the spans in MLflow's tables
    telemetry   the log, and traces of Headrace itself

A setting is read as `config.http_port`, whichever module it stands in. `make docs` writes each field and its
description into docs/configuration.md; `tests/unit/test_docs.py` fails if one is missing.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.config.access import Access
from headrace.config.limits import Limits
from headrace.config.listen import Listen
from headrace.config.mlflow import MLFLOW_DEFAULTS
from headrace.config.queue import Queue
from headrace.config.routing import RouteRule, Routing
from headrace.config.store import Store, sqlalchemy_url
from headrace.config.telemetry import Telemetry, header_pairs
from headrace.config.values import MIB
from headrace.config.writing import Writing
from headrace.errors import StartError

__all__ = [
    "MIB",
    "MLFLOW_DEFAULTS",
    "Config",
    "RouteRule",
    "header_pairs",
    "load",
    "sqlalchemy_url",
    "unknown_variables",
]


# Pydantic takes the fields of the last base first: read upwards, this is the order of the table in the documentation.
class Config(Telemetry, Writing, Queue, Limits, Access, Routing, Listen, Store, BaseSettings):
    """All settings. Where none of them has an `HEADRACE_*` variable, `unknown_variables` reports it."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore", hide_input_in_errors=True)


def load(**overrides: Any) -> Config:
    """Reads the settings from the environment. `overrides`, from the command line, win over it; None overrides nothing.

    Raises:
        StartError: a value is wrong. It names each such variable and says why. It never repeats the value: that may be a
            password.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Config(**given)
    except ValidationError as error:
        problems = [f"`HEADRACE_{str(e['loc'][0]).upper()}`: {e['msg']}" if e["loc"] else e["msg"] for e in error.errors()]
        raise StartError("Wrong settings:\n  " + "\n  ".join(problems)) from None


def unknown_variables(environ: dict[str, str]) -> list[str]:
    """The names in `environ` that begin with `HEADRACE_` and are no setting: most likely typing errors."""
    known = {f"HEADRACE_{name.upper()}" for name in Config.model_fields}
    return sorted(name for name in environ if name.startswith("HEADRACE_") and name not in known)
