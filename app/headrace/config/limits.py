"""How much clients may send: in a second, in a request, at once."""

from pydantic import BaseModel, Field

from headrace.config.values import MIB


class Limits(BaseModel):
    """What a client, and all clients together, may take."""

    max_spans_per_second: float | None = Field(
        None,
        gt=0,
        description="Most spans a second, all clients together. Over it: 429, UNAVAILABLE in gRPC. Unset: no limit.",
    )
    max_bytes_per_second: float | None = Field(
        None,
        gt=0,
        description="Most bytes of request bodies, as received, a second, all clients together. Over it: 429, "
        "UNAVAILABLE in gRPC. Unset: no limit.",
    )
    burst_seconds: float = Field(
        10,
        gt=0,
        description="Seconds' worth of a limit a second that may come at once, for these two limits and for those of API keys.",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        description="Most open HTTP connections, including those in the TLS handshake; fewer if the process may open "
        "few files. One more takes the place of the one that has been idle for longest. If none is idle, "
        "the new one is closed, and its client tries again.",
    )
    header_seconds: float = Field(
        10, gt=0, description="Seconds for the TLS handshake of a connection, and again for the headers of a request."
    )
    body_seconds: float = Field(
        30,
        gt=0,
        description="Seconds for the body of a request to arrive; over it: 408. A client has as long to read its "
        "answer; after that its connection is closed.",
    )
    max_body_bytes: int = Field(
        64 * MIB,
        ge=1024,
        description="Largest request body in bytes, both as received and once inflated. Over it: 413.",
    )
    max_in_flight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most bytes of memory that all requests take at once, from their first byte until their answer: "
        "as sent, inflated, and parsed (estimated). Over it: 503 with `Retry-After`. A request may go "
        "over the limit while the others hold less than an eighth of it.",
    )
    max_rows_per_request: int = Field(
        200_000,
        ge=1000,
        description="Most rows of MLflow's tables that one request may become: one for each span, about six for each "
        "trace, one for each tag; a value longer than 1 KiB counts as several rows. Over it, the traces "
        "first get fewer tags; spans that still do not fit are rejected in a `partial_success`.",
    )
    max_points_per_request: int = Field(
        50_000,
        ge=100,
        description="Most values of metrics that one request may become: one for a data point of a gauge or a sum, seven for "
        "one of a histogram. Data points beyond it are rejected in a `partial_success`.",
    )
    max_metrics_per_run: int = Field(
        2_000,
        ge=10,
        description="Most different metrics of a run, by their names in MLflow, so that an attribute with ever new values does "
        "not fill its charts. Data points of further ones become dead letters.",
    )
    max_tags_per_trace: int = Field(
        128,
        ge=8,
        description="Most tags of a trace. Tags are made from resource attributes and from `mlflow.traceTag.*`. "
        "Those over the limit are not stored as tags, and the client is told; with `HEADRACE_ENRICH` "
        "they stay in the stored resource.",
    )
