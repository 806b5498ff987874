"""Every metric and every logged event of Headrace, in one file.

Metrics are Prometheus', served at `/metrics`. Logs are structlog's: one event name, then fields; start, stop, changes of
state and the first error of a kind are logged, whatever repeats is counted.
"""

import logging
import math
import os
import sys
import time
from functools import partial
from typing import Any

import structlog
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series a counter, which nobody asks for

REQUESTS = Counter("headrace_requests", "OTLP requests answered.", ["protocol", "signal", "code"])
RECORDS_REFUSED = Counter(
    "headrace_records_refused", "Metric data points and log records that came, and are not stored.", ["signal"]
)
AUTH_FAILURES = Counter("headrace_auth_failures", "Requests without a good API key.", ["reason"])
RATE_LIMITED = Counter("headrace_rate_limited", "Requests refused by a limit of spans or bytes a second.", ["scope", "unit"])
CONNECTIONS_CLOSED = Counter("headrace_connections_closed", "HTTP connections closed before a request.", ["reason"])
SPANS_RECEIVED = Counter("headrace_spans_received", "Spans that came in decodable requests.")
SPANS_REJECTED = Counter("headrace_spans_rejected", "Spans refused, their sender was told.", ["reason"])
SPANS_REPAIRED = Counter("headrace_spans_repaired", "Spans changed so that they can be stored.", ["rule"])
SPANS_ACCEPTED = Counter("headrace_spans_accepted", "Spans acknowledged: they are on disk.")
SPANS_WRITTEN = Counter("headrace_spans_written", "Spans written to MLflow's tables.")
SPANS_DEAD_LETTERED = Counter("headrace_spans_dead_lettered", "Spans that could not be written, kept in headrace.dead_letter.")
RUN_LINKS_FAILED = Counter("headrace_run_links_failed", "Traces that could not be linked to the run of x-mlflow-run-id.")
EXPERIMENTS_CREATED = Counter("headrace_experiments_created", "MLflow experiments created by name.")
WRITE_RETRIES = Counter("headrace_write_retries", "Writes tried again because Postgres was away or busy.")
QUEUE_DAMAGED = Counter("headrace_queue_damaged", "Files, and single requests, that the disk has changed.", ["what"])
ACK_SECONDS = Histogram(
    "headrace_ack_seconds",
    "From the first byte of a request to its durable acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WRITE_SECONDS = Histogram(
    "headrace_write_seconds",
    "One successful write of a batch to Postgres.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
VISIBLE_SECONDS = Histogram(
    "headrace_visible_seconds",
    "From receiving a request to its spans being visible in MLflow.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
# Of several workers the one that looked last is right, for it looked at the same Postgres, and at the queues of all.
_gauge = partial(Gauge, multiprocess_mode="mostrecent")
QUEUE_BYTES = _gauge("headrace_queue_bytes", "Bytes of requests that wait for Postgres.")
QUEUE_MAX_BYTES = _gauge("headrace_queue_max_bytes", "Bytes that the queue may hold.")
QUEUE_ITEMS = _gauge("headrace_queue_items", "Requests that wait for Postgres.")
QUEUE_AGE_SECONDS = _gauge("headrace_queue_oldest_age_seconds", "Age of the oldest request that waits.")
DATABASE_UP = _gauge("headrace_database_up", "1 while Postgres answers, 0 while it does not.")

log: structlog.stdlib.BoundLogger = structlog.get_logger("headrace")


def exposition() -> bytes:
    """Prometheus' text of this process; of all the workers, where this is one of several (see `app/supervisor.py`)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def configure_logging(log_format: str, level: str, worker: int | None = None) -> None:
    """Sends our events, and uvicorn's, MLflow's and Alembic's warnings, to stderr: for people or as JSON lines.

    `worker`: this one's number, which each event then names.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if worker is None else [lambda _, __, event: {**event, "worker": worker}]),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # rich's shows local variables, which may hold secrets
        )
    )
    tail = [structlog.processors.format_exc_info, renderer] if as_json else [renderer]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("headrace").setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


_last_logged: dict[str, float] = {}


def log_rarely(event: str, kind: str, **fields: Any) -> None:
    """Logs a warning at most once a minute for each `kind` (one of few): for what clients can repeat at will."""
    now = time.monotonic()
    if now - _last_logged.get(kind, -math.inf) >= 60:
        _last_logged[kind] = now
        log.warning(event, **fields)
