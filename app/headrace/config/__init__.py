"""The user's settings: the environment (`HEADRACE_*`) → one frozen `Config`.

Each concern has a module with a small model of its settings:

    store       Postgres, and the data directory
    listen      addresses, ports and processes
    console     where traces are shown
    routing     which experiment a span goes to
    access      TLS and API keys
    limits      how much clients may send
    logs        log records that belong to a span
    queue       where requests wait: on disk, how much, or in Kafka (`kafka.py` reads its URL)
    retention   how long traces are kept
    writing     what is made of the spans in MLflow's tables
    metrics     names and steps of the metrics of a run
    forward     where metrics without a run are passed on to
    reading     how much the read side may ask of Postgres
    telemetry   the log, and traces of Headrace itself

A setting is read as `config.http_port`, whichever module it stands in. `make docs` writes each field and its
description into docs/configuration.md; `tests/unit/test_docs.py` fails if one is missing.
"""

from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from headrace.config.access import Access
from headrace.config.console import Console
from headrace.config.forward import Forward
from headrace.config.limits import Limits
from headrace.config.listen import Listen, reachable
from headrace.config.logs import Logs
from headrace.config.metrics import Metrics
from headrace.config.mlflow import MLFLOW_DEFAULTS
from headrace.config.problems import problems
from headrace.config.queue import Queue
from headrace.config.reading import Reading
from headrace.config.retention import Retention, RetentionRule
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
    "RetentionRule",
    "RouteRule",
    "header_pairs",
    "load",
    "meant",
    "problems",
    "sqlalchemy_url",
    "unknown_variables",
    "variable",
]


_OPTIONS = ("data_dir", "host", "http_port", "grpc_port", "ui_port")
"""The settings that are options of commands, too."""


# Pydantic takes the fields of the last base first: read upwards, this is the order of the table in the documentation.
class Config(
    Telemetry,
    Reading,
    Logs,
    Forward,
    Metrics,
    Retention,
    Writing,
    Queue,
    Limits,
    Access,
    Routing,
    Console,
    Listen,
    Store,
    BaseSettings,
):
    """All settings. Where none of them has an `HEADRACE_*` variable, `unknown_variables` reports it."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic gives all of them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Pydantic's hook: no file is a source. Pydantic would look through all fields for each."""
        return init_settings, env_settings

    @property
    def own_url(self) -> str:
        """The receiver's URL, as its own machine reaches it, without a slash at its end."""
        host = reachable(self.host)
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.http_port}"


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
        names = {name: variable(name) for name in Config.model_fields}
        names |= {name: f"--{name.replace('_', '-')}" for name in _OPTIONS if name in given}
        raise StartError(f"Wrong settings: {'; '.join(problems(error, Config, names, 'rule'))}") from None


def variable(field: str) -> str:
    """`http_port` → `HEADRACE_HTTP_PORT`."""
    return f"HEADRACE_{field.upper()}"


def meant(name: str) -> str:
    """The variable that a wrong name looks like. Empty: none."""
    return next(iter(get_close_matches(name, map(variable, Config.model_fields), 1, 0.8)), "")


def unknown_variables(environ: dict[str, str]) -> list[str]:
    """The names in `environ` that begin with `HEADRACE_` and are no setting: most likely typing errors."""
    known = set(map(variable, Config.model_fields))
    return sorted(name for name in environ if name.startswith("HEADRACE_") and name not in known)
