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
from headrace.envelope.split import AnyDelivery
from headrace.errors import PermanentExportError, WriteBroke
from headrace.export.retry import attempts
from headrace.otlp.signals import TRACES

MOST_BYTES = 8 * 1024 * 1024
_LEAST_BYTES = 64 * 1024
MOST_SECONDS = 2.0

ROUNDS = 3
"""How often a batch has to break its connection before it is halved."""
LAST_ROUNDS = 12
"""How often a single span has to break its connection before it becomes a dead letter. Suppose that something cuts connections
at random, by time or by bytes. It cuts the span's write with a probability p. The rehearsal takes no fewer bytes and no less
time, so its probability is p or more. Then the span fails while the rehearsal succeeds with a probability of at most 1/4.
Twelve times in a row, that is 1 in 16 million."""
_LONGEST_PAUSE = 0.5


def harmless(delivery: AnyDelivery, size: int) -> Delivery:
    """A delivery of one span of about `size` bytes, in a new trace, with the destination of the given delivery."""
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
    return replace(delivery, request=request, destinations=delivery.destinations[:1], run_id="", signal=TRACES)


def rehearsed(write: Callable[[], None], rehearse: Callable[[float], bool], rounds: int, stop: threading.Event) -> None:
    """Calls `write`. If the connection breaks, calls it again, each time after a rehearsal that lasts as long as the write
    took.

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
