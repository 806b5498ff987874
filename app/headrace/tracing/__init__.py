"""Headrace's own traces, sent to HEADRACE_TRACES_ENDPOINT. By default they are off; then OpenTelemetry's SDK is not loaded.

    receive traces      one request, from its headers to its answer; a share of them, HEADRACE_TRACES_SAMPLE_RATIO, at random
    write batch         one batch that holds such requests; it links to their spans
     ├─ claim           take it out of the queue
     ├─ translate       turn it into rows
     └─ write           write it to Postgres, with all attempts

Traces must not cause traces without end. `loop.py` refuses our own address at the start; `received` recognizes our spans when
they come back through others.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from headrace.config import Config
from headrace.otlp.readable import ReadableHolder
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import REQUESTS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from headrace.tracing.export import Traces

SERVICE = "headrace"
"""The `service.name` of our spans."""

Stage = tuple[str, int, int]
"""A stage of a batch: its name, its start and its end in Unix nanoseconds."""

_UNTRACED = nullcontext()
_traces: "Traces | None" = None
_current: "ContextVar[Span | None]" = ContextVar("headrace_request", default=None)


def start(config: Config) -> None:
    """Starts tracing if the settings say so."""
    global _traces  # noqa: PLW0603 - one for the process, as the metrics are
    if config.traces_endpoint is not None:
        from headrace.tracing.export import Traces

        _traces = Traces(config)


def stop() -> None:
    """Sends the spans that wait, for two seconds at most, and ends."""
    global _traces  # noqa: PLW0603
    if _traces is not None:
        _traces.stop()
        _traces = None


def request(signal: str) -> AbstractContextManager[None]:
    """A context manager that traces its block as one request of this signal, if chance picks it."""
    # For a request that is not traced this costs 0.2 µs; the SDK's own sampler would cost 5 µs.
    if _traces is None or random.random() >= _traces.ratio:  # noqa: S311 - not for secrets
        return _UNTRACED
    return _request(_traces, signal)


@contextmanager
def _request(traces: "Traces", signal: str) -> Iterator[None]:
    span = traces.begin(f"receive {signal}")
    token = _current.set(span)
    try:
        yield
    finally:
        if _current.get() is span:  # else `received` gave it up, and a span that is not ended is never sent
            span.end()
        _current.reset(token)


def answered(protocol: str, signal: str, code: str) -> None:
    """Counts an answer, and notes it on the request's span, if it is traced."""
    REQUESTS.labels(protocol, signal, code).inc()
    if (span := _current.get()) is not None:
        from headrace.tracing.export import note_answer

        note_answer(span, protocol, code)


def received(size: int, resources: Sequence[ReadableHolder] = (), records: int = 0) -> None:
    """Notes the size and the number of records (spans, log records, data points) on the request's span.

    Gives up the trace of a request that holds only records of a Headrace, this one or another. A Collector may send our spans
    back to us: tracing their receipt would make new ones, for ever.
    """
    if (span := _current.get()) is None:
        return
    if resources and all(map(_is_own, resources)):
        _current.set(None)
    span.set_attributes({"headrace.bytes": size, "headrace.spans": records})


def _is_own(holder: ReadableHolder) -> bool:
    return any(
        attribute.key == "service.name" and attribute.value.string_value == SERVICE for attribute in holder.resource.attributes
    )


def offered(envelope: bytes) -> None:
    """Remembers the current request's span by its envelope, so that the batch with that envelope can link to it."""
    if _traces is not None and (span := _current.get()) is not None:
        _traces.remember(envelope, span)


def written(envelopes: Iterable[bytes], stages: Sequence[Stage], attempts: int) -> None:
    """Traces a batch that was written, if it held traced requests."""
    if _traces is not None and _traces.remembers:
        try:
            _traces.batch(list(envelopes), stages, attempts)
        except Exception as error:  # tracing must not stop the work
            log_rarely("own traces cannot be made", "own_traces_made", error=f"{type(error).__name__}: {error}")
