"""A decoded request, before it is put into its envelope."""

from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Incoming:
    """A decoded request as a receiver hands it over.

    `body` is its protobuf, if the wire had it: what needs no rewording is queued as it came. `malformed` spans were
    already left out by the codec. `headers` (or gRPC metadata) have lower-case keys. `allowed` are the experiments, ids or
    names, to which its sender may write; None: all. `key_name` is that of its API key; empty where it has none.
    """

    request: ExportTraceServiceRequest
    headers: Mapping[str, str]
    body: bytes | None = None
    malformed: int = 0
    allowed: frozenset[str] | None = None
    key_name: str = ""
