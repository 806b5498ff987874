"""The fake of tests/readers.py keeps the contract."""

from collections.abc import Sequence

from contracts.trace_reader import OTHER, Sent, TraceReaderContract
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from readers import MemoryReader

from headrace.reader import TraceReader


class TestMemoryReader(TraceReaderContract):
    other = OTHER

    def reader_of(self, sent: Sequence[Sent]) -> TraceReader:
        return MemoryReader([(each, TracesData.FromString(request.SerializeToString())) for each, request in sent])
