"""What is queued: the bytes of a request, where they go, and who sent them (proto/headrace/v1/envelope.proto)."""

from dataclasses import dataclass
from typing import Any, Generic

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import TypeVar

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal

NUMBERS = {TRACES: pb.SIGNAL_TRACES, METRICS: pb.SIGNAL_METRICS, LOGS: pb.SIGNAL_LOGS}
"""Each signal's number in an envelope."""
_SIGNALS = {number: signal for signal, number in NUMBERS.items()}

Content = TypeVar("Content", default=ExportTraceServiceRequest)
"""The message that a delivery holds: that of its signal."""


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Content]):
    """One accepted request on its way to MLflow; `destinations[i]` is where its i-th resource goes."""

    request: Content
    destinations: tuple[pb.Destination, ...]
    run_id: str
    received_unix_nano: int
    user_agent: str
    key_name: str = ""
    max_tags: int = 0
    """The most tags that one of its traces may be given. 0: the writer's setting decides."""
    limit: Limit | None = None
    """The experiments whose traces and runs it may change. Its own destinations have been checked already. None: all
    experiments."""
    signal: Signal = TRACES
    positions: tuple[int, ...] = ()
    """Of log records that were split: see `otlp/order.py`. Empty: count them in the request."""

    @classmethod
    def from_envelope(cls, data: bytes) -> "Delivery[Any]":
        """Reads the bytes of one item of the queue. Raises protobuf's DecodeError, or ValueError, if they are not an
        envelope."""
        envelope = pb.Envelope.FromString(data)
        signal = signal_of(envelope)
        request: Any = signal.request.FromString(envelope.request)
        if len(envelope.destinations) != len(signal.form.resources_of(request)):
            raise ValueError("the envelope has not one destination for each resource")
        if envelope.positions and len(envelope.positions) != signal.form.count(request):
            raise ValueError("the envelope has not one position for each record")
        return Delivery(
            request=request,
            destinations=tuple(envelope.destinations),
            run_id=envelope.run_id,
            received_unix_nano=envelope.received_unix_nano,
            user_agent=envelope.user_agent,
            key_name=envelope.key_name,
            max_tags=envelope.max_tags,
            limit=Limit.from_message(envelope),
            signal=signal,
            positions=tuple(envelope.positions),
        )

    def to_envelope(self) -> bytes:
        """The inverse of `from_envelope`."""
        return pb.Envelope(
            received_unix_nano=self.received_unix_nano,
            destinations=self.destinations,
            run_id=self.run_id,
            user_agent=self.user_agent,
            key_name=self.key_name,
            max_tags=self.max_tags,
            limit=None if self.limit is None else self.limit.to_message(),
            signal=NUMBERS[self.signal],
            positions=self.positions,
            request=self.request.SerializeToString(),  # type: ignore[attr-defined] # a protobuf message
        ).SerializeToString()


def signal_of(envelope: pb.Envelope) -> Signal:
    """The signal of an envelope's request. Raises ValueError for one that this version does not know."""
    try:
        return _SIGNALS[envelope.signal]
    except KeyError:
        raise ValueError(f"the envelope holds signal {envelope.signal}, which this version of Headrace does not know") from None
