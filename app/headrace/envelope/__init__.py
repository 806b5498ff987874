"""What is queued: the bytes of a request, where they go, and who sent them (proto/headrace/v1/envelope.proto)."""

from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit


@dataclass(frozen=True, slots=True)
class Delivery:
    """One accepted request on its way to MLflow; `destinations[i]` is where `request.resource_spans[i]` goes."""

    request: ExportTraceServiceRequest
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

    @classmethod
    def from_envelope(cls, data: bytes) -> "Delivery":
        """Reads the bytes of one item of the queue. Raises protobuf's DecodeError, or ValueError, if they are not an
        envelope."""
        envelope = pb.Envelope.FromString(data)
        request = ExportTraceServiceRequest.FromString(envelope.request)
        if len(envelope.destinations) != len(request.resource_spans):
            raise ValueError("the envelope has not one destination for each resource")
        return cls(
            request,
            tuple(envelope.destinations),
            envelope.run_id,
            envelope.received_unix_nano,
            envelope.user_agent,
            envelope.key_name,
            envelope.max_tags,
            Limit.from_message(envelope),
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
            request=self.request.SerializeToString(),
        ).SerializeToString()
