"""The user's settings: the environment (`HEADRACE_*`) → one frozen `Config`.

Every key stands in docs/configuration.md and in the README's table; `tests/test_docs.py` fails where one is missing.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartError

MLFLOW_DEFAULTS = {
    # It reports its usage to third parties otherwise.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # It fetches its price list from the Internet at the first LLM span otherwise, which blocks the writer for seconds where
    # there is no way out. Empty: the list that MLflow ships.
    "MLFLOW_MODEL_CATALOG_URI": "",
    # Background jobs (LLM judges over traces) are eight more processes, 2 GB, beside the UI of `headrace up`.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""MLflow's own settings as Headrace runs it, here and in its children; what the user has set wins."""

Port = Annotated[int, Field(ge=0, le=65535)]
MIB = 1024 * 1024


class RouteRule(BaseModel):
    """One rule of `HEADRACE_ROUTES`: resource attributes that match these globs go to this experiment.

    `{"match": {"service.name": "checkout-*"}, "experiment": "shop"}`; all globs of one rule must match. The experiment
    is a name and may hold `{resource.attribute}` placeholders, as `HEADRACE_DEFAULT_EXPERIMENT` may.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: dict[str, str] = Field(min_length=1)
    experiment: str = Field(min_length=1)


class Config(BaseSettings):
    """What the user sets. An unknown `HEADRACE_*` variable is reported by `unknown_variables`, never ignored silently."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None,
        description="Postgres that holds MLflow's tables, `postgresql://user:password@host:5432/db`. "
        "Needed by `serve`; `up` brings its own.",
    )
    data_dir: Path = Field(
        Path("~/.headrace"),
        description="Directory of the disk queue and, for `up`, of the embedded Postgres and MLflow's artifacts.",
    )
    host: str = Field("127.0.0.1", description="Address that the receiver and, for `up`, the MLflow UI listen on.")
    http_port: Port = Field(4318, description="Port of OTLP/HTTP, `/healthz`, `/readyz` and `/metrics`.")
    ui_port: Port = Field(5000, description="Port of the MLflow UI that `up` starts.")
    default_experiment: str | None = Field(
        None,
        description="Experiment (by name) of spans that nothing else routes. May be a template over resource "
        "attributes, `{service.name}`. Unset: such a request is answered 400. `up` sets it to `Default`.",
    )
    create_experiments: bool = Field(
        True, description="Create an experiment that is named but missing. An id that does not exist is never created."
    )
    routes: Annotated[tuple[RouteRule, ...], NoDecode] = Field(
        (),
        description='JSON list of rules, first match wins: `[{"match": {"service.name": "shop-*"}, "experiment": '
        '"shop"}]`. Globs on resource attributes.',
    )
    enrich: bool = Field(
        True,
        description="Make plain OpenTelemetry traces readable in MLflow: span types, a trace name, previews, each span's kind, "
        "scope and service. `false`: exactly the rows that MLflow's own `/v1/traces` writes.",
    )
    max_body_bytes: int = Field(
        64 * MIB,
        ge=1024,
        description="Largest request body, in bytes, as received and again once inflated; over it: 413.",
    )
    max_in_flight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most bytes of request bodies that are in memory at once, over all connections; "
        "over it: 503 with `Retry-After`.",
    )
    queue_max_bytes: int = Field(
        4096 * MIB, ge=MIB, description="Most bytes that the disk queue holds; over it: 503 with `Retry-After`."
    )
    batch_max_bytes: int = Field(
        2 * MIB,
        ge=1024,
        description="Most bytes that the worker claims from the queue for one write (always at least one request).",
    )
    experiment_cache_seconds: float = Field(
        60, gt=0, description="How long a looked-up experiment is trusted before Postgres is asked again."
    )
    shutdown_seconds: float = Field(
        10, ge=0, description="How long a stop waits for the queue to drain; the rest stays on disk for the next start."
    )
    log_format: str = Field(
        "auto",
        pattern="^(auto|console|json)$",
        description="`console`, `json`, or `auto`: console on a terminal, JSON elsewhere.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level that is logged.")

    @field_validator("routes", mode="before")
    @classmethod
    def _parse_routes(cls, value: Any) -> Any:
        """Parses the JSON here rather than in pydantic-settings, whose error would not name the variable."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value.strip() else ()
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from None

    @field_validator("data_dir", mode="after")
    @classmethod
    def _expand_data_dir(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url", mode="after")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("postgresql://", "postgresql+psycopg://", "postgres://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError("must start with `postgresql://`: Headrace writes to Postgres only")
        return value

    @field_validator("default_experiment", mode="after")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None


def load(**overrides: Any) -> Config:
    """Reads the environment; `overrides` (from the command line) win over it.

    Raises:
        StartError: names each wrong variable and says why; never repeats its value, which may hold a password.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Config(**given)
    except ValidationError as error:
        problems = [f"`HEADRACE_{str(e['loc'][0]).upper()}`: {e['msg']}" for e in error.errors()]
        raise StartError("Wrong settings:\n  " + "\n  ".join(problems)) from None


def unknown_variables(environ: dict[str, str]) -> list[str]:
    """The `HEADRACE_*` names in `environ` that no setting has: most likely a typing error."""
    known = {f"HEADRACE_{name.upper()}" for name in Config.model_fields}
    return sorted(name for name in environ if name.startswith("HEADRACE_") and name not in known)


def sqlalchemy_url(url: str) -> str:
    """A URL in libpq's spelling → the one with which SQLAlchemy (and so MLflow) uses psycopg 3."""
    return f"postgresql+psycopg://{url.partition('://')[2]}"
