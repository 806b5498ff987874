"""The user's settings: the environment (`HEADRACE_*`) → one frozen `Config`.

`make docs` writes each field and its description into docs/configuration.md; `tests/unit/test_docs.py` fails if one is missing
there.
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
    # Otherwise MLflow reports its usage to third parties.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Otherwise MLflow fetches its price list from the Internet at the first LLM span. Without a way to the Internet that
    # blocks the writer for seconds. Empty: MLflow uses the list that it ships.
    "MLFLOW_MODEL_CATALOG_URI": "",
    # Background jobs (LLM judges over traces) are eight more processes, 2 GB, beside the UI of `headrace up`.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""Defaults for MLflow's own settings, in this process and in its children. What the user has set wins."""

Port = Annotated[int, Field(ge=0, le=65535)]
MIB = 1024 * 1024


class RouteRule(BaseModel):
    """One rule of `HEADRACE_ROUTES`: a resource whose attributes match these globs goes to this experiment.

    Example: `{"match": {"service.name": "checkout-*"}, "experiment": "shop"}`. All globs of a rule must match. The experiment
    is a name. It may hold `{resource.attribute}` placeholders, as `HEADRACE_DEFAULT_EXPERIMENT` may.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: dict[str, str] = Field(min_length=1)
    experiment: str = Field(min_length=1)


class Config(BaseSettings):
    """What the user sets. `unknown_variables` finds the `HEADRACE_*` variables that are no setting."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None,
        description="The Postgres that holds MLflow's tables: `postgresql://user:password@host:5432/db`. `serve` needs it; "
        "`up` brings its own.",
    )
    data_dir: Path = Field(
        Path("~/.headrace"),
        description="Directory of the disk queue. `up` also keeps its embedded Postgres and MLflow's artifacts there.",
    )
    host: str = Field(
        "127.0.0.1", description="Address that the receiver listens on. With `up`, the MLflow UI listens on it, too."
    )
    http_port: Port = Field(4318, description="Port of OTLP/HTTP, `/healthz`, `/readyz` and `/metrics`.")
    grpc_port: Port = Field(4317, description="Port of OTLP/gRPC and of gRPC's health service.")
    ui_port: Port = Field(5000, description="Port of the MLflow UI that `up` starts.")
    default_experiment: str | None = Field(
        None,
        description="Name of the experiment for spans that nothing else routes. It may be a template over resource "
        "attributes: `{service.name}`. Unset: such a request is answered 400. `up` sets it to `Default`.",
    )
    create_experiments: bool = Field(
        True, description="Whether to create an experiment that is named and does not exist. An experiment id is never created."
    )
    max_new_experiments_per_request: int = Field(
        20,
        ge=1,
        description="Most experiments that one request may create. Spans for further ones are rejected in a `partial_success`.",
    )
    max_new_experiments_per_minute: int = Field(
        60,
        ge=1,
        description="Most experiments that all clients together may create in a minute. Over it: 429, UNAVAILABLE in gRPC. "
        "Spans that were accepted before wait for the next minute.",
    )
    max_experiments_per_request: int = Field(
        1000,
        ge=1,
        description="Most experiments that one request may name. Spans for further ones are rejected in a `partial_success`.",
    )
    routes: Annotated[tuple[RouteRule, ...], NoDecode] = Field(
        (),
        description="JSON list of rules over resource attributes, with globs. The first that matches wins: "
        '`[{"match": {"service.name": "shop-*"}, "experiment": "shop"}]`.',
    )
    enrich: bool = Field(
        True,
        description="Whether to make plain OpenTelemetry traces readable in MLflow: span types, a trace name, previews, each "
        "span's kind, scope and service. `false`: exactly the rows that MLflow's own `/v1/traces` writes.",
    )
    finish_seconds: float = Field(
        600,
        ge=0,
        description="Seconds after its last span when a trace without a root span is finished with what is known of it. A "
        "root span that comes later still decides. `0`, or `HEADRACE_ENRICH=false`: such a trace stays in progress.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of processes that receive and write, each with a queue of its own, behind the same ports. The "
        "limits in bytes are for all of them together.",
    )
    path_prefix: str = Field(
        "",
        pattern=r"^(/[\w.~-]+)*$",
        description="Prefix of the OTLP/HTTP paths: `/otel` → `/otel/v1/traces`. The paths without it work, too.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of the web pages that may send spans, separated by commas: `https://shop.example`, "
        "`https://*.example`, or `*` for all. Unset: none.",
    )
    tls_cert: Path | None = Field(
        None,
        description="PEM file of the server's certificate and its chain. With it both servers, HTTP and gRPC, speak TLS. Read "
        "again when it changes. Needs `HEADRACE_TLS_KEY`.",
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of the authorities whose certificates clients must show (mutual TLS)."
    )
    api_keys: Path | None = Field(
        None,
        description="File of hashed API keys; `headrace keys` writes it. If it is set, a request without a good key is "
        "answered 401.",
    )
    max_spans_per_second: float | None = Field(
        None,
        gt=0,
        description="Most spans a second, all clients together. Over it: 429, UNAVAILABLE in gRPC. Unset: no limit.",
    )
    max_bytes_per_second: float | None = Field(
        None,
        gt=0,
        description="Most bytes of request bodies, as received, a second, all clients together. Over it: 429, UNAVAILABLE in "
        "gRPC. Unset: no limit.",
    )
    burst_seconds: float = Field(
        10,
        gt=0,
        description="Seconds' worth of a limit a second that may come at once, for these two limits and for those of API keys.",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        description="Most open HTTP connections, including those in the TLS handshake; fewer if the process may open few "
        "files. One more takes the place of the one that has been idle for longest. If none is idle, the new one is closed, "
        "and its client tries again.",
    )
    header_seconds: float = Field(
        10, gt=0, description="Seconds for the TLS handshake of a connection, and again for the headers of a request."
    )
    body_seconds: float = Field(
        30,
        gt=0,
        description="Seconds for the body of a request to arrive; over it: 408. A client has as long to read its answer; "
        "after that its connection is closed.",
    )
    max_body_bytes: int = Field(
        64 * MIB,
        ge=1024,
        description="Largest request body in bytes, both as received and once inflated. Over it: 413.",
    )
    max_rows_per_request: int = Field(
        200_000,
        ge=1000,
        description="Most rows of MLflow's tables that one request may become: one for each span, about six for each trace, "
        "one for each tag; a value longer than 1 KiB counts as several rows. Over it, the traces first get fewer tags; spans "
        "that still do not fit are rejected in a `partial_success`.",
    )
    max_tags_per_trace: int = Field(
        128,
        ge=8,
        description="Most tags of a trace. Tags are made from resource attributes and from `mlflow.traceTag.*`. Those over "
        "the limit are not stored as tags, and the client is told; with `HEADRACE_ENRICH` they stay in the stored resource.",
    )
    max_write_bytes: int = Field(
        64 * MIB,
        ge=MIB,
        le=192 * MIB,
        description="Most bytes of one write to Postgres, estimated before it is built. A larger batch is written in parts. A "
        "single span over four times the limit becomes a dead letter.",
    )
    max_in_flight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most bytes of memory that all requests take at once, from their first byte until their answer: as sent, "
        "inflated, and parsed (estimated). Over it: 503 with `Retry-After`. A request may go over the limit while the others "
        "hold less than an eighth of it.",
    )
    queue_max_bytes: int = Field(
        4096 * MIB, ge=MIB, description="Most bytes that the disk queue holds. Over it: 503 with `Retry-After`."
    )
    queue_resume_percent: int = Field(
        90,
        ge=1,
        le=100,
        description="Low water: once the queue or its disk was full, the queue takes requests again when it has drained to "
        "this percentage of `HEADRACE_QUEUE_MAX_BYTES`. This keeps readiness from flapping.",
    )
    min_free_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="Bytes that the queue leaves free on its disk. With fewer free: 503 with `Retry-After`. `0`: it uses the "
        "whole disk.",
    )
    batch_max_bytes: int = Field(
        4 * MIB,
        ge=1024,
        description="Most bytes that the worker claims from the queue for one write, and always at least one request. It does "
        "not wait for a batch to fill: it takes what is there.",
    )
    experiment_cache_seconds: float = Field(
        60, gt=0, description="Seconds for which a looked-up experiment is trusted before Postgres is asked again."
    )
    shutdown_seconds: float = Field(
        10,
        ge=0,
        description="Seconds for which a stop waits for the queue to drain. The rest stays on disk for the next start.",
    )
    traces_endpoint: str | None = Field(
        None,
        description="OTLP/HTTP URL to which Headrace sends traces of its own work: `http://collector:4318/v1/traces`. It must "
        "not be this Headrace itself. Unset: none are sent.",
    )
    traces_headers: SecretStr | None = Field(
        None,
        description="Headers for `HEADRACE_TRACES_ENDPOINT`, written as in `OTEL_EXPORTER_OTLP_HEADERS`: "
        "`x-mlflow-experiment-id=0,authorization=Bearer%20…`.",
    )
    traces_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of the requests that is traced, chosen at random: from 0, none, to 1, all."
    )
    log_format: str = Field(
        "auto",
        pattern="^(auto|console|json)$",
        description="`console`, `json`, or `auto`: console if stderr is a terminal, else JSON.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level that is logged.")

    @property
    def finishes(self) -> bool:
        """Whether traces without a root span are finished after `finish_seconds`."""
        return self.enrich and self.finish_seconds > 0

    @field_validator("routes", mode="before")
    @classmethod
    def _parse_routes(cls, value: Any) -> Any:
        """Parses the JSON here because the error of pydantic-settings would not name the variable."""
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
        """Compose files and shells leave a variable unset as `HEADRACE_API_KEYS=`. An empty path would be the working
        directory."""
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
        """Checks the URL. If it has no path, adds `/v1/traces`."""
        if value is None:
            return None
        try:
            url = urlsplit(value)
            good = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:  # its text would repeat the URL
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


def header_pairs(text: str) -> dict[str, str]:
    """`a=1,b=x%20y` → headers with lower-case names and decoded values, as OpenTelemetry's SDKs read
    `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        ValueError: the text has another form. The error never repeats the text: it may hold a key.
    """
    headers = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, value = (unquote(each).strip() for each in part.partition("="))
        if not (equals and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) and value.isascii() and value.isprintable()):
            raise ValueError("must be `name=value` pairs, separated by commas, with values percent-encoded")
        headers[name.lower()] = value
    return headers


def unknown_variables(environ: dict[str, str]) -> list[str]:
    """The names in `environ` that begin with `HEADRACE_` and are no setting: most likely typing errors."""
    known = {f"HEADRACE_{name.upper()}" for name in Config.model_fields}
    return sorted(name for name in environ if name.startswith("HEADRACE_") and name not in known)


def sqlalchemy_url(url: str) -> str:
    """A Postgres URL as libpq spells it → as SQLAlchemy, and so MLflow, spells it for psycopg 3."""
    return f"postgresql+psycopg://{url.partition('://')[2]}"
