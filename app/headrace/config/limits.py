"""How much clients may send: in a second, in a request, at once."""

from pydantic import BaseModel, Field

from headrace.config.values import MIB


class Limits(BaseModel):
    """What a client, and all clients together, may take."""

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
    max_in_flight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most bytes of memory that requests take at once, over all connections, from the first byte until the "
        "answer: as sent, inflated, and parsed (estimated); over it: 503 with `Retry-After`. A request that is nearly "
        "alone goes on.",
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
