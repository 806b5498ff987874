"""The user's settings: the environment (`HEADRACE_*`) → one frozen `Config`.

Every key stands in docs/configuration.md and in the README's table; `tests/unit/test_docs.py` fails where one is missing.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from headrace.errors import StartError

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
    grpc_port: Port = Field(4317, description="Port of OTLP/gRPC and of gRPC's health service.")
    ui_port: Port = Field(5000, description="Port of the MLflow UI that `up` starts.")
    default_experiment: str | None = Field(
        None,
        description="Experiment (by name) of spans that nothing else routes. May be a template over resource "
        "attributes, `{service.name}`. Unset: such a request is answered 400. `up` sets it to `Default`.",
    )
    create_experiments: bool = Field(
        True, description="Create an experiment that is named but missing. An id that does not exist is never created."
    )
    max_new_experiments_per_request: int = Field(
        20,
        ge=1,
        description="Most experiments that one request may create; spans for further ones are rejected by a partial success.",
    )
    max_new_experiments_per_minute: int = Field(
        60,
        ge=1,
        description="Most experiments that all clients together may create in a minute; over it: 429, UNAVAILABLE in gRPC. "
        "What was accepted already waits.",
    )
    max_experiments_per_request: int = Field(
        1000,
        ge=1,
        description="Most experiments that one request may name; spans for further ones are rejected by a partial success.",
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
    finish_seconds: float = Field(
        600,
        ge=0,
        description="When to finish, with what is known of it, a trace of which no more spans come and no root span has come. "
        "A root that comes later has its say all the same. `0`, or `HEADRACE_ENRICH=false`: never, it stays in progress.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that receive and write, each with a queue of its own, behind the same ports. "
        "The limits in bytes are for all of them together.",
    )
    path_prefix: str = Field(
        "",
        pattern=r"^(/[\w.~-]+)*$",
        description="Put before the OTLP/HTTP paths, beside which they stay reachable without it: `/otel` → `/otel/v1/traces`.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of web pages whose browsers may send spans, separated by commas: `https://shop.example`, "
        "`https://*.example`, or `*` for all. Unset: none.",
    )
    tls_cert: Path | None = Field(
        None,
        description="PEM file of the server's certificate and its chain: both servers speak TLS then. "
        "Read again when it changes. Needs `HEADRACE_TLS_KEY`.",
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the authorities whose certificates clients must show (mutual TLS)."
    )
    api_keys: Path | None = Field(
        None,
        description="File of hashed API keys, kept with `headrace keys`. Set: a request without a good key is answered 401.",
    )
    max_spans_per_second: float | None = Field(
        None,
        gt=0,
        description="Most spans a second of all clients together; over it: 429, UNAVAILABLE in gRPC. Unset: no limit.",
    )
    max_bytes_per_second: float | None = Field(None, gt=0, description="The same of bytes of request bodies as received.")
    burst_seconds: float = Field(
        10, gt=0, description="How many seconds' worth of a limit (these two, and those of API keys) may come at once."
    )
    max_connections: int = Field(
        4096,
        ge=1,
        description="Most open HTTP connections, those in the TLS handshake included; fewer where few files may be open. One "
        "more takes the place of the longest idle one; if none is idle, it is closed, which exporters try again.",
    )
    header_seconds: float = Field(
        10, gt=0, description="How long the TLS handshake of an HTTP connection may take, and then the headers of a request."
    )
    body_seconds: float = Field(
        30,
        gt=0,
        description="How long the body of a request may take to come; over it: 408. So long may an HTTP client take to read "
        "its answer, too.",
    )
    max_body_bytes: int = Field(
        64 * MIB,
        ge=1024,
        description="Largest request body, in bytes, as received and again once inflated; over it: 413.",
    )
    max_rows_per_request: int = Field(
        200_000,
        ge=1000,
        description="Most rows of MLflow's tables that one request may become: its spans, about six for each of its traces, "
        "and the tags; what is longer than 1 KiB counts as several. First the traces get fewer tags; what is over it "
        "all the same is refused in words, in a `partial_success`.",
    )
    max_tags_per_trace: int = Field(
        128,
        ge=8,
        description="Most tags of a trace, made of resource attributes and of `mlflow.traceTag.*`. Those over it are not "
        "stored as tags; with `HEADRACE_ENRICH` the resource keeps them, and the client is told.",
    )
    max_write_bytes: int = Field(
        64 * MIB,
        ge=MIB,
        le=192 * MIB,
        description="Most bytes that one write to Postgres may have, as estimated before it is built. A larger batch is "
        "written in parts; a single span of more than four times as many becomes a dead letter.",
    )
    max_in_flight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most bytes of memory that requests take at once, over all connections, from the first byte until the "
        "answer: as sent, inflated, and parsed (estimated); over it: 503 with `Retry-After`. A request that is nearly "
        "alone goes on.",
    )
    queue_max_bytes: int = Field(
        4096 * MIB, ge=MIB, description="Most bytes that the disk queue holds; over it: 503 with `Retry-After`."
    )
    queue_resume_percent: int = Field(
        90,
        ge=1,
        le=100,
        description="Low water: a queue that was full, or whose disk was, takes requests again from this percentage of "
        "`HEADRACE_QUEUE_MAX_BYTES` down, so that readiness does not flap.",
    )
    min_free_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Bytes that the queue leaves free on its disk; with fewer: 503 with `Retry-After`. `0`: uses all of it.",
    )
    batch_max_bytes: int = Field(
        4 * MIB,
        ge=1024,
        description="Most bytes that the worker claims from the queue for one write (always at least one request). It takes "
        "what waits: little on a quiet day, so much when there is a backlog.",
    )
    experiment_cache_seconds: float = Field(
        60, gt=0, description="How long a looked-up experiment is trusted before Postgres is asked again."
    )
    shutdown_seconds: float = Field(
        10, ge=0, description="How long a stop waits for the queue to drain; the rest stays on disk for the next start."
    )
    traces_endpoint: str | None = Field(
        None,
        description="OTLP/HTTP URL to which Headrace sends traces of its own work, `http://collector:4318/v1/traces`. "
        "Never itself. Unset: none.",
    )
    traces_headers: SecretStr | None = Field(
        None,
        description="Headers for it, as in `OTEL_EXPORTER_OTLP_HEADERS`: `x-mlflow-experiment-id=0,authorization=Bearer%20…`.",
    )
    traces_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Which part of the requests is traced, by chance: 1 is all of them."
    )
    log_format: str = Field(
        "auto",
        pattern="^(auto|console|json)$",
        description="`console`, `json`, or `auto`: console on a terminal, JSON elsewhere.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level that is logged.")

    @property
    def finishes(self) -> bool:
        """Whether traces without a root span are finished after a while."""
        return self.enrich and self.finish_seconds > 0

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

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: Any) -> Any:
        return (
            tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator(
        "database_url", "tls_cert", "tls_key", "tls_client_ca", "api_keys", "traces_endpoint", "traces_headers", mode="before"
    )
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        """As compose files and shells have it: `HEADRACE_API_KEYS=`. A path of no letters would be the working directory."""
        return None if value == "" else value

    @field_validator("tls_cert", "tls_key", "tls_client_ca", "api_keys", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().absolute()

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Config":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("HEADRACE_TLS_CERT and HEADRACE_TLS_KEY belong together: set both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("HEADRACE_TLS_CLIENT_CA needs HEADRACE_TLS_CERT and HEADRACE_TLS_KEY")
        return self

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

    @field_validator("traces_endpoint", mode="after")
    @classmethod
    def _check_traces_endpoint(cls, value: str | None) -> str | None:
        """The URL, with OTLP's path where it has none."""
        if value is None:
            return None
        try:
            url = urlsplit(value)
            good = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:  # it would repeat the text
            good = False
        if not good:
            raise ValueError("must be an OTLP/HTTP URL such as `http://collector:4318/v1/traces`") from None
        if "@" in url.netloc:
            raise ValueError("must not hold a password: set HEADRACE_TRACES_HEADERS instead")
        return value if url.path.strip("/") else url._replace(path="/v1/traces").geturl()

    @field_validator("traces_headers", mode="after")
    @classmethod
    def _check_traces_headers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            header_pairs(value.get_secret_value())
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
        problems = [f"`HEADRACE_{str(e['loc'][0]).upper()}`: {e['msg']}" if e["loc"] else e["msg"] for e in error.errors()]
        raise StartError("Wrong settings:\n  " + "\n  ".join(problems)) from None


def header_pairs(text: str) -> dict[str, str]:
    """`a=1,b=x%20y` → headers, percent-decoded, as OpenTelemetry's SDKs read theirs.

    Raises:
        ValueError: it is none such; never repeats the text, which may hold a key.
    """
    headers = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, value = (unquote(each).strip() for each in part.partition("="))
        if not (equals and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) and value.isascii() and value.isprintable()):
            raise ValueError("must be `name=value` pairs, separated by commas, with values percent-encoded")
        headers[name.lower()] = value
    return headers


def unknown_variables(environ: dict[str, str]) -> list[str]:
    """The `HEADRACE_*` names in `environ` that no setting has: most likely a typing error."""
    known = {f"HEADRACE_{name.upper()}" for name in Config.model_fields}
    return sorted(name for name in environ if name.startswith("HEADRACE_") and name not in known)


def sqlalchemy_url(url: str) -> str:
    """A URL in libpq's spelling → the one with which SQLAlchemy (and so MLflow) uses psycopg 3."""
    return f"postgresql+psycopg://{url.partition('://')[2]}"
