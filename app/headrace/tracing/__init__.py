"""Headrace's own traces, to the OTLP endpoint of HEADRACE_TRACES_ENDPOINT. Off, as it is by default, nothing of it is loaded.

    receive traces      one request, from its headers to its answer: HEADRACE_TRACES_SAMPLE_RATIO of them, by chance
    write batch         one batch with such requests in it, to whose spans it links
     ├─ claim           out of the queue
     ├─ translate       into rows
     └─ write           into Postgres, with all attempts

Never in a loop: `loop.py` looks at the start, `received` at what comes back to us on a detour.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from headrace.config import Config
from headrace.otlp.readable import ReadableRequest, ReadableResourceSpans
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import REQUESTS

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from headrace.tracing.export import Traces

SERVICE = "headrace"
"""The `service.name` of our resource."""

Stage = tuple[str, int, int]
"""Its name, when it began and when it ended, in Unix nanoseconds."""

_UNTRACED = nullcontext()
_traces: "Traces | None" = None
_current: "ContextVar[Span | None]" = ContextVar("headrace_request", default=None)


def start(config: Config) -> None:
    """Begins to trace, where the settings say so."""
    global _traces  # noqa: PLW0603 - one for the process, as the metrics are
    if config.traces_endpoint is not None:
        from headrace.tracing.export import Traces

        _traces = Traces(config)


def stop() -> None:
    """Sends what waits, for two seconds at the most."""
    global _traces  # noqa: PLW0603
    if _traces is not None:
        _traces.stop()
        _traces = None


def request(signal: str) -> AbstractContextManager[None]:
    """Traces what is done inside as one request, if chance picks it."""
    # The SDK's own sampler would cost 5 µs a request that is not traced; this costs 0.2.
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
        if _current.get() is span:  # else `received` has given it up: a span that is not ended is never sent
            span.end()
        _current.reset(token)


def answered(protocol: str, signal: str, code: str) -> None:
    """Counts an answer, and notes it on the request's span."""
    REQUESTS.labels(protocol, signal, code).inc()
    if (span := _current.get()) is not None:
        from headrace.tracing.export import note_answer

        note_answer(span, protocol, code)


def received(size: int, message: ReadableRequest | None = None, spans: int = 0) -> None:
    """Notes what came. A request of nothing but spans of a Headrace (this one's, or its peer's) is not traced: else each would
    bring forth the next, for ever, where a Collector sends them back to us."""
    if (span := _current.get()) is None:
        return
    if message is not None and message.resource_spans and all(map(_is_own, message.resource_spans)):
        _current.set(None)
    span.set_attributes({"headrace.bytes": size, "headrace.spans": spans})


def _is_own(resource_spans: ReadableResourceSpans) -> bool:
    return any(
        attribute.key == "service.name" and attribute.value.string_value == SERVICE
        for attribute in resource_spans.resource.attributes
    )


def offered(envelope: bytes) -> None:
    """Remembers the request whose envelope goes into the queue, so that its batch can link to it."""
    if _traces is not None and (span := _current.get()) is not None:
        _traces.remember(envelope, span)


def written(envelopes: Iterable[bytes], stages: Sequence[Stage], attempts: int) -> None:
    """Traces a batch that was written, if it carried traced requests."""
    if _traces is not None and _traces.remembers:
        try:
            _traces.batch(list(envelopes), stages, attempts)
        except Exception as error:  # what is said of the work shall not stop it
            log_rarely("own traces cannot be made", "own_traces_made", error=f"{type(error).__name__}: {error}")
