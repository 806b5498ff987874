"""The fake of tests/readers.py keeps the contract."""

from collections.abc import Sequence

from contracts.trace_reader import OTHER, RunOf, Sent, TraceReaderContract
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from readers import MemoryReader

from headrace.reader import TraceReader


class TestMemoryReader(TraceReaderContract):
    other = OTHER

    def reader_of(self, sent: Sequence[Sent], runs: Sequence[RunOf] = ()) -> TraceReader:
        data = [(each, TracesData.FromString(request.SerializeToString())) for each, request in sent]
        return MemoryReader(data, {0: "Default", OTHER: "other"} if sent else None, [(0, *run) for run in runs])
