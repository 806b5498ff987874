"""All metrics of Headrace, for Prometheus. `/metrics` serves them."""

from itertools import product

from google.rpc import code_pb2
from prometheus_client import (
    Counter,
    Gauge,
    Histogram,
)

from headrace import __version__
from headrace.errors import HeadraceError
from headrace.telemetry.families import LABELS, counter, gauge
from headrace.telemetry.kafka import KAFKA_AWAY, KAFKA_LAG
from headrace.telemetry.refusals import REFUSALS
from headrace.telemetry.waiting import FORWARD_AGE, FORWARD_WAITING, FORWARD_WAITING_BYTES, LOGS_WAITING, LOGS_WAITING_BYTES

RECORD_SIGNALS = ("metrics", "logs")
"""The signals whose records share metrics with a label `signal`. Spans have metrics of their own."""

REQUESTS = Counter(
    "headrace_requests",
    "OTLP requests answered, by HTTP status or gRPC code. `client_gone`: the client did not wait for the answer. "
    "`protocol` has the names of `OTEL_EXPORTER_OTLP_PROTOCOL`.",
    ["protocol", "signal", "code"],
)
LABELS["headrace_requests"] = {
    "protocol": ("http/protobuf", "http/json", "grpc"),
    "signal": ("traces", "metrics", "logs"),
    "code": (),
}
for _protocol, _signal in product(*list(LABELS["headrace_requests"].values())[:2]):
    REQUESTS.labels(_protocol, _signal, "OK" if _protocol == "grpc" else "200")
_fates: list[type[HeadraceError]] = [HeadraceError, *REFUSALS]
for _error in _fates:
    REQUESTS.labels("http/protobuf", "traces", str(_error.http_status))
    REQUESTS.labels("http/json", "traces", str(_error.http_status))
    REQUESTS.labels("grpc", "traces", code_pb2.Code.Name(_error.rpc_code))
REQUESTS_REFUSED = counter(
    "headrace_requests_refused",
    "Requests refused as a whole; their client was told. `unexpected` is a fault of Headrace.",
    reason=(*sorted(REFUSALS.values()), "unexpected"),
)
REQUEST_BYTES = Histogram(
    "headrace_request_bytes",
    "Size of a request's body as received, before it is inflated, in bytes.",
    buckets=[4**n for n in range(4, 14)],
)
IN_FLIGHT_BYTES = Gauge(
    "headrace_in_flight_bytes",
    "Bytes of memory that requests take now: as received, inflated, and parsed (estimated).",
    multiprocess_mode="sum",
)
IN_FLIGHT_MAX_BYTES = Gauge(
    "headrace_in_flight_max_bytes", "Bytes of memory that requests may take at once.", multiprocess_mode="sum"
)
AUTH_FAILURES = counter("headrace_auth_failures", "Requests without a good API key.", reason=("missing", "unknown", "expired"))
RATE_LIMITED = counter(
    "headrace_rate_limited",
    "Requests refused because of a limit of spans or bytes a second: that of a key, or that for all clients.",
    scope=("all", "key"),
    unit=("spans", "bytes"),
)
CONNECTIONS_CLOSED = counter(
    "headrace_connections_closed",
    "Connections that Headrace closed. `too_many`: there were as many as the limit allows. `idle`: it was closed to make room "
    "for a new one. `slow_headers`: the headers took too long to come. `unread_body`: Headrace had answered early, and the "
    "rest of the body took too long to come. `unread_answer`: the client took too long to read the answer. `pipelined`: the "
    "client sent too many requests without waiting for an answer. `protocol_error`: the client broke the rules of HTTP/2. "
    "`wrong_port`: HTTP, gRPC or TLS came to a port that speaks another of them. `too_many_frames`: the client sent too many "
    "HTTP/2 frames that do nothing. `vanished`: the client no longer answered.",
    reason=(
        *("too_many", "idle", "slow_headers", "unread_body", "unread_answer", "pipelined"),
        *("protocol_error", "wrong_port", "too_many_frames", "vanished"),
    ),
)
TLS_FAILURES = counter(
    "headrace_tls_failures",
    "TLS handshakes that failed. `no_certificate`: the client showed no certificate. `bad_certificate`: it showed one that "
    "`HEADRACE_TLS_CLIENT_CA` does not accept. `plain_text`: the client spoke without TLS. `client_refused`: the client did "
    "not accept the server's certificate. `version`: client and server have no TLS version or cipher in common.",
    reason=("no_certificate", "bad_certificate", "plain_text", "client_refused", "version", "other"),
)
SPANS_RECEIVED = counter("headrace_spans_received", "Spans in requests that could be decoded.")
SPANS_REJECTED = counter(
    "headrace_spans_rejected",
    "Spans rejected; their client was told.",
    reason=(
        "malformed_span",
        "unknown_field",
        "invalid_trace_id",
        "invalid_span_id",
        "invalid_parent_span_id",
        "time_out_of_range",
        "too_many_rows",
        "too_large_record",
        "no_experiment",
        "too_many_experiments",
        "forbidden_experiment",
    ),
)
SPANS_REPAIRED = counter(
    "headrace_spans_repaired",
    "Changes that made a span storable, by rule. The rules are explained below the table.",
    rule=(
        *("self_parent", "invalid_bytes_replaced", "surrogate_replaced", "nul_replaced"),
        *("time_beyond_otlp", "start_time_missing", "end_time_missing", "end_before_start"),
        *("end_time_out_of_range", "event_time_missing", "unfinished_superseded", "id_rewritten"),
        *("old_name_read", "go_value_read", "json_value_read", "deep_value_as_text"),
        *("duplicate_span", "session_id_cut", "user_id_cut"),
        *("trace_name_cut", "span_type_cut", "reserved_tag_dropped", "prompt_not_linked"),
        *("tags_over_limit", "deleted_experiment", "translation_failed"),
    ),
)
SPANS_ACCEPTED = counter("headrace_spans_accepted", "Spans answered with success: they are on disk.")
SPANS_WRITTEN = counter("headrace_spans_written", "Spans written to MLflow's tables.")
SPANS_DEAD_LETTERED = counter(
    "headrace_spans_dead_lettered", "Spans that could not be written, and were kept in `headrace.dead_letter`."
)
RUN_LINKS_FAILED = counter("headrace_run_links_failed", "Traces that could not be linked to the run of `x-mlflow-run-id`.")
QUEUE_DAMAGED = counter(
    "headrace_queue_damaged",
    "Files of the queue, and single requests in it, that were found damaged.",
    what=("file", "request"),
)
ORIGINS_DELETED = counter("headrace_origins_deleted", "Resources and scopes deleted because no stored span has them any more.")
TRACES_FINISHED = counter("headrace_traces_finished", "Traces finished without a root span, because none came in time.")
TRACES_EXPIRED = counter("headrace_traces_expired", "Traces deleted because a rule of `HEADRACE_RETENTION` said so.")
EXPERIMENTS_CREATED = counter("headrace_experiments_created", "MLflow experiments created by name.")
EXPERIMENTS_LIMITED = counter(
    "headrace_experiments_limited",
    "How often a limit of experiments was exceeded. `named`: experiments that a request named beyond "
    "`HEADRACE_MAX_EXPERIMENTS_PER_REQUEST`. `request`: experiments that a request would have created beyond "
    "`HEADRACE_MAX_NEW_EXPERIMENTS_PER_REQUEST`. `minute`: requests refused because of "
    "`HEADRACE_MAX_NEW_EXPERIMENTS_PER_MINUTE`. `queued`: times that the worker waited because of the same limit.",
    limit=("named", "request", "minute", "queued"),
)
ACK_SECONDS = Histogram(
    "headrace_ack_seconds",
    "Seconds from the start of a request to its durable acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUEUE_COMMIT_SECONDS = Histogram(
    "headrace_queue_commit_seconds",
    "Seconds for one commit of the queue, including its fsync. One commit serves all requests that wait for it.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
TRANSLATE_SECONDS = Histogram(
    "headrace_translate_seconds",
    "Seconds to translate one batch into rows, outside the event loop.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WRITE_SECONDS = Histogram(
    "headrace_write_seconds",
    "Seconds for one successful write of a batch to Postgres.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_REQUESTS = Histogram(
    "headrace_batch_requests", "Requests in one written batch.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
)
BATCH_SPANS = Histogram(
    "headrace_batch_spans",
    "Spans in one written batch.",
    buckets=(1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000),
)
BATCHES_SPLIT = counter(
    "headrace_batches_split", "Times that a batch, or a part of one, was halved to find the span that cannot be written."
)
WRITE_RETRIES = counter("headrace_write_retries", "Writes tried again because Postgres was away or busy.")
VISIBLE_SECONDS = Histogram(
    "headrace_visible_seconds",
    "Seconds from receiving a request until its spans are visible in MLflow.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
EXPORT_LOOP_SECONDS = Gauge(
    "headrace_export_loop_timestamp_seconds",
    "Unix time at which the worker's loop last turned. With several workers: the time of the one that turned longest ago.",
    multiprocess_mode="min",
)
EXPORT_RETRYING = Gauge(
    "headrace_export_retrying",
    "Number of workers with a batch that Postgres does not take at the moment.",
    multiprocess_mode="sum",
)
QUEUE_BYTES = gauge("headrace_queue_bytes", "Bytes of requests that wait for Postgres.")
QUEUE_MAX_BYTES = gauge("headrace_queue_max_bytes", "Bytes that the queue may hold.")
QUEUE_ITEMS = gauge("headrace_queue_items", "Requests that wait for Postgres.")
QUEUE_AGE_SECONDS = gauge("headrace_queue_oldest_age_seconds", "Age of the oldest request that waits, in seconds.")
READY = gauge("headrace_ready", "1 while requests can be accepted, as `/readyz` says, 0 while they cannot.")
DATABASE_UP = gauge("headrace_database_up", "1 while Postgres answers, 0 while it does not.")
TABLES_FIT = gauge(
    "headrace_tables_fit",
    "1 while Headrace can write MLflow's tables as they are, 0 while it waits until they fit.",
)
OWN_SPANS = counter(
    "headrace_own_spans",
    "Headrace's own spans (`HEADRACE_TRACES_ENDPOINT`). `sent`: the endpoint took them. `failed`: the endpoint did not take "
    "them. `dropped`: too many spans waited.",
    outcome=("sent", "failed", "dropped"),
)
PART_RESTARTS = counter(
    "headrace_part_restarts",
    "Times that a part of Headrace (a thread, a task or a worker process) ended without being asked, and was started again.",
    part=(
        *("worker", "finisher", "pruner", "retainer", "joiner", "queue", "tls", "grpc", "jaeger", "watch", "supervisor-watch"),
        *("forwarder", "worker-process", "kafka-sender", "kafka-reader", "kafka-watch", "spill"),
    ),
)
READS_CUT = counter(
    "headrace_reads_cut",
    "Answers of the console and of Jaeger's storage API that a limit has cut short, by what was read. See "
    "`HEADRACE_READ_MAX_ROWS`.",
    what=("trace", "search", "services", "operations", "dependencies", "experiments", "runs"),
)
BUILD_INFO = gauge("headrace_build_info", "Always 1; its label names the version.", ["version"])
LABELS["headrace_build_info"] = {"version": ()}


def start_gauges(in_flight_max_bytes: int) -> None:
    """Sets the gauges that a process sets at its start. It may be one of several, and may have been started again."""
    BUILD_INFO.labels(__version__).set(1)
    IN_FLIGHT_BYTES.set(0)
    IN_FLIGHT_MAX_BYTES.set(in_flight_max_bytes)
    EXPORT_RETRYING.set(0)
    TABLES_FIT.set(1)
    EXPORT_LOOP_SECONDS.set_to_current_time()
    for each in (LOGS_WAITING, LOGS_WAITING_BYTES, FORWARD_WAITING, FORWARD_WAITING_BYTES, FORWARD_AGE, KAFKA_AWAY, KAFKA_LAG):
        each.set(0)  # the part that sets it may be off, or slower: of several workers, a gauge that none has set is not shown
