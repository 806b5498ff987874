"""OTLP → MLflow's tables. The one package, with local.py, that knows MLflow.

The seam is `Writer`: `writer.py` writes whole batches at once, for the schema revisions that it knows; `mlflow_store.py` writes
through MLflow's own store, for any other that the installed MLflow knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.queue import envelope_pb2 as pb


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
    """Most tags that a trace of it may be given. 0: as the writer is set up."""

    @classmethod
    def from_envelope(cls, data: bytes) -> "Delivery":
        """Reads what the queue holds. Raises protobuf's DecodeError, or ValueError, where it is no envelope."""
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
            request=self.request.SerializeToString(),
        ).SerializeToString()


class Writer(Protocol):
    """Writes synchronously: returns once the rows are committed. Idempotent: any batch, any number of times."""

    def translate(self, deliveries: Sequence[Delivery]) -> Any:
        """These requests, in this order, as `write` wants them. Pure; every destination has its `experiment_id`."""

    def write(self, translated: Any) -> None:
        """Writes what `translate` made.

        Raises:
            DatabaseUnavailable: the same call may succeed later. PermanentExportError: it never will.
        """

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """Writes a delivery as `write` does, takes so long for it at the least, and takes it all back.

        Raises:
            As `write`.
        """
