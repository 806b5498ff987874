"""A client of Jaeger's storage API, as Jaeger itself is one: over grpcio, with its default limits."""

from typing import Any

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from headrace.console.jaeger import capabilities_pb2 as capabilities
from headrace.console.jaeger import dependency_storage_pb2 as dependency
from headrace.console.jaeger import trace_storage_pb2 as storage

_READER, _MAP = "/jaeger.storage.v2.TraceReader/", "/jaeger.storage.v2.DependencyReader/"
UNARY: dict[str, tuple[str, Any]] = {
    "GetServices": (_READER, storage.GetServicesResponse),
    "GetOperations": (_READER, storage.GetOperationsResponse),
    "FindTraceIDs": (_READER, storage.FindTraceIDsResponse),
    "GetDependencies": (_MAP, dependency.GetDependenciesResponse),
    "GetCapabilities": ("/jaeger.storage.v2.Capabilities/", capabilities.GetCapabilitiesResponse),
}
STREAMS: dict[str, Any] = {
    "GetTraces": TracesData,
    "FindTraces": TracesData,
    "FindTraceSummaries": storage.FindTraceSummariesResponse,
}


class JaegerClient:
    """Calls methods by their names."""

    def __init__(self, channel: grpc.Channel, **metadata: str) -> None:
        self._channel = channel
        self._metadata = tuple((name.replace("_", "-"), value) for name, value in metadata.items())

    def ask(self, method: str, request: Message) -> Any:
        """The answer of a method that has one."""
        path, answer = UNARY[method]
        call: Any = self._channel.unary_unary(path + method, type(request).SerializeToString, answer.FromString)
        return call(request, timeout=60, metadata=self._metadata)

    def stream(self, method: str, request: Message) -> list[Any]:
        """The messages of a method's answer."""
        call: Any = self._channel.unary_stream(_READER + method, type(request).SerializeToString, STREAMS[method].FromString)
        return list(call(request, timeout=60, metadata=self._metadata))

    def trace(self, trace_id: bytes) -> list[TracesData]:
        """`GetTraces` of one."""
        return self.stream("GetTraces", storage.GetTracesRequest(query=[storage.GetTraceParams(trace_id=trace_id)]))

    def found(self, **asked: Any) -> list[str]:
        """`FindTraces`: the first two digits of each trace's id, in order."""
        asked["attributes"] = [
            storage.KeyValue(key=key, value=storage.AnyValue(string_value=value))
            for key, value in asked.get("attributes", {}).items()
        ]
        request = storage.FindTracesRequest(query=storage.TraceQueryParameters(**asked))
        ids = [data.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()[:2] for data in self.stream("FindTraces", request)]
        return list(dict.fromkeys(ids))
