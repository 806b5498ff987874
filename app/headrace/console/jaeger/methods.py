"""Jaeger's methods over a `TraceReader`: a request → the messages of its answer. They wait for Postgres: for threads only."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from headrace.console.access import readable
from headrace.console.jaeger import capabilities_pb2 as capabilities
from headrace.console.jaeger import dependency_storage_pb2 as dependency
from headrace.console.jaeger import trace_storage_pb2 as storage
from headrace.console.jaeger.answers import chunks, summary
from headrace.console.jaeger.questions import EXPERIMENT, KINDS, attributes, kind_of, nanoseconds, to_query
from headrace.envelope.limit import Limit
from headrace.errors import MalformedBody
from headrace.reader import Experiments, Found, TraceReader

_MAX_IDS = 100
"""Traces that one `GetTraces` may name."""
_SUMMARIES = 100
"""Summaries in one message."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks: the limit of the key, and the experiments that headers name."""

    limit: Limit | None
    names: list[str]


class Methods:
    """The methods of `jaeger.storage.v2`."""

    def __init__(self, reader: TraceReader, max_bytes: int) -> None:
        """`max_bytes`: most bytes of one answer. After that, no further trace is begun."""
        self._reader = reader
        self._max_bytes = max_bytes

    @property
    def by_path(self) -> Mapping[str, Callable[[bytes, Asking], Iterator[Message]]]:
        """A method's path → the method."""
        reading, map_ = "/jaeger.storage.v2.TraceReader", "/jaeger.storage.v2.DependencyReader"
        return {
            f"{reading}/GetTraces": self.get_traces,
            f"{reading}/GetServices": self.get_services,
            f"{reading}/GetOperations": self.get_operations,
            f"{reading}/FindTraces": self.find_traces,
            f"{reading}/FindTraceIDs": self.find_trace_ids,
            f"{reading}/FindTraceSummaries": self.find_trace_summaries,
            f"{map_}/GetDependencies": self.get_dependencies,
            "/jaeger.storage.v2.Capabilities/GetCapabilities": self.get_capabilities,
        }

    def get_traces(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`GetTraces`. A trace that is not there is left out, as the API has it."""
        asked = _read(storage.GetTracesRequest, body)
        if len(asked.query) > _MAX_IDS:
            raise MalformedBody(f"GetTraces names {len(asked.query)} traces: ask for {_MAX_IDS} at most.")
        experiments = self._readable(asking)
        yield from self._traces([each.trace_id.hex() for each in asked.query], experiments)

    def _traces(self, trace_ids: list[str], experiments: Experiments) -> Iterator[Message]:
        size = 0
        for trace_id in dict.fromkeys(trace_ids):
            if size > self._max_bytes:
                return
            if (read := self._reader.trace(trace_id, experiments)) is not None:
                for message in chunks(read.data):
                    size += message.ByteSize()
                    yield message

    def get_services(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`GetServices`."""
        _read(storage.GetServicesRequest, body)
        yield storage.GetServicesResponse(services=self._reader.services(self._readable(asking)))

    def get_operations(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`GetOperations`."""
        asked = _read(storage.GetOperationsRequest, body)
        kind = kind_of(asked.span_kind)
        found = [
            storage.Operation(name=name, span_kind=KINDS[number] if 0 < number < len(KINDS) else "")
            for name, number in self._reader.operations(asked.service, self._readable(asking))
            if kind in (None, number)
        ]
        yield storage.GetOperationsResponse(operations=found)

    def find_traces(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`FindTraces`."""
        found, experiments = self._find(_read(storage.FindTracesRequest, body).query, asking)
        yield from self._traces([each.trace_id for each in found], experiments)

    def find_trace_ids(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`FindTraceIDs`."""
        found, _ = self._find(_read(storage.FindTraceIDsRequest, body).query, asking)
        answer = storage.FindTraceIDsResponse()
        for each in found:
            added = answer.trace_ids.add(trace_id=bytes.fromhex(each.trace_id))
            added.start.FromNanoseconds(each.start)
            added.end.FromNanoseconds(each.start + each.duration)
        yield answer

    def find_trace_summaries(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`FindTraceSummaries`."""
        found, experiments = self._find(_read(storage.FindTraceSummariesRequest, body).query, asking)
        for begin in range(0, len(found), _SUMMARIES):
            page = found[begin : begin + _SUMMARIES]
            read = (self._reader.trace(each.trace_id, experiments) for each in page)
            known = [made for each in read if each is not None and (made := summary(each.data)) is not None]
            if known:
                yield storage.FindTraceSummariesResponse(summaries=known)

    def get_dependencies(self, body: bytes, asking: Asking) -> Iterator[Message]:
        """`GetDependencies`."""
        asked = _read(dependency.GetDependenciesRequest, body)
        since, until = nanoseconds(asked.start_time), nanoseconds(asked.end_time) or time.time_ns()
        edges = self._reader.dependencies(since, until, self._readable(asking))
        yield dependency.GetDependenciesResponse(
            dependencies=[
                dependency.Dependency(parent=edge.caller, child=edge.callee, call_count=edge.calls, source="headrace")
                for edge in edges
            ]
        )

    def get_capabilities(self, body: bytes, _: Asking) -> Iterator[Message]:
        """`GetCapabilities`. All that is asked for must be of one span; no service need be named."""
        _read(capabilities.GetCapabilitiesRequest, body)
        search = capabilities.SearchCapabilities(without_service_name=True, same_span_conjunction=True)
        yield capabilities.GetCapabilitiesResponse(search=search)

    def _find(self, asked: storage.TraceQueryParameters, asking: Asking) -> tuple[list[Found], Experiments]:
        named = [tag] if (tag := attributes(asked).get(EXPERIMENT)) else []
        experiments = self._readable(asking, named)
        return self._reader.search(to_query(asked, experiments)).found, experiments

    def _readable(self, asking: Asking, named: list[str] | None = None) -> Experiments:
        return readable(self._reader, asking.limit, [*asking.names, *(named or ())])


def _read(kind: type[Message], body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise MalformedBody(f"The message is not a {kind.__name__}: {error}.") from None
