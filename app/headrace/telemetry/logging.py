"""Headrace's log. Every event goes through `log`, a structlog logger: a constant name of the event, then fields.

It logs start, stop, changes of state and the first error of a kind. What repeats is counted in a metric instead.
"""

import logging
import math
import sys
import time
from typing import Any

import structlog


class _ToStderr(logging.StreamHandler):  # type: ignore[type-arg] # Python 3.10 has no StreamHandler[TextIO]
    """Writes to what `sys.stderr` is at the time. While a line of progress stands in a terminal, Rich has its own there: an
    event stands above that line then, and not in it."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self.stream = sys.stderr
        super().emit(record)


log: structlog.stdlib.BoundLogger = structlog.get_logger("headrace")


def configure_logging(log_format: str, level: str, worker: int | None = None) -> None:
    """Sends our events, and the warnings of uvicorn, MLflow and Alembic, to stderr, as text or as JSON lines.

    `worker`: the number of this worker process, which each event then has as a field.
    """
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if worker is None else [lambda _, __, event: {**event, "worker": worker}]),
    ]
    root = logging.getLogger()
    root.handlers = [_handler(shared, as_json)]
    root.setLevel(logging.WARNING)
    logging.getLogger("headrace").setLevel(level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _handler(shared: list[Any], as_json: bool) -> logging.Handler:
    """What writes the events. Those of other loggers pass the `shared` steps there; ours have passed them before."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(as_json)],
    )
    handler = _ToStderr()
    handler.setFormatter(formatter)
    return handler


def _renderers(as_json: bool) -> list[Any]:
    """The last steps of structlog: an event → its line."""
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # rich's own traceback shows local variables, which may hold secrets
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


_last_logged: dict[str, float] = {}


def log_rarely(event: str, kind: str, **fields: Any) -> None:
    """Logs a warning, at most once a minute for each `kind`. It is for events that clients can cause at will. Kinds must be
    few: they are remembered."""
    now = time.monotonic()
    if now - _last_logged.get(kind, -math.inf) >= 60:
        _last_logged[kind] = now
        log.warning(event, **fields)
