"""Was it an outage, or is it the batch's fault? A rehearsal tells: a harmless span of the same size on the same road.

The rule stands in `app/headrace/export/exporter.py`. Pure but for the waiting.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headrace.envelope import Delivery
from headrace.errors import PermanentExportError, WriteBroke
from headrace.export.retry import attempts

MOST_BYTES = 8 * 1024 * 1024
_LEAST_BYTES = 64 * 1024
MOST_SECONDS = 2.0

ROUNDS = 3
"""So often a batch has to break its connection before it is halved."""
LAST_ROUNDS = 12
"""So often a single span, before it becomes a dead letter. Whatever cuts connections at random, by time or by bytes, cuts the
span with a chance p, and the rehearsal, which takes no fewer bytes and no less time, with p or more: that the span fails and
the rehearsal does not has a chance of 1/4 at the most, and twelve times in a row of 1 in 16 million."""
_LONGEST_PAUSE = 0.5


def harmless(delivery: Delivery, size: int) -> Delivery:
    """One span of a trace that nobody knows, of about `size` bytes, that goes where the delivery goes."""
    text = "x" * max(_LEAST_BYTES, min(size, MOST_BYTES))
    span = Span(
        trace_id=os.urandom(16),
        span_id=os.urandom(8),
        name="rehearsal",
        start_time_unix_nano=delivery.received_unix_nano,
        end_time_unix_nano=delivery.received_unix_nano,
        attributes=[KeyValue(key="text", value=AnyValue(string_value=text))],
    )
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
    return replace(delivery, request=request, destinations=delivery.destinations[:1], run_id="")


def rehearsed(write: Callable[[], None], rehearse: Callable[[float], bool], rounds: int, stop: threading.Event) -> None:
    """Writes; where that breaks, again and again, each time after a rehearsal of as many seconds as it took.

    Raises:
        WriteBroke: it is an outage, as a rehearsal failed as well, or `stop` is set.
        PermanentExportError: the write broke `rounds` times in a row, and as many rehearsals in a row went through.
    """
    began = time.monotonic()
    try:
        return write()
    except WriteBroke as error:
        broke = error
    took = time.monotonic() - began
    for number in attempts(stop, _LONGEST_PAUSE):
        if not rehearse(took):
            raise broke
        if number + 1 == rounds:
            raise PermanentExportError(f"It breaks the connection to Postgres, {rounds} times in a row ({broke})")
        try:
            return write()
        except WriteBroke as error:
            broke = error
    raise broke
