"""The contract of `headrace.reader.TraceReader`. Each implementation has a class of its own, a `TraceReaderContract`:

MemoryReader     tests/unit/reader/test_memory.py   (the fake of tests/readers.py)
PostgresReader   tests/db/reader/test_contract.py
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from headrace.reader import Activity, Edge, Experiment, Operation, Query, Run, Runs, RunTrace, TraceReader
from otlp import SECOND, START, request, span

Sent = tuple[int, ExportTraceServiceRequest]
RunOf = tuple[Run, Sequence[RunTrace]]
"""A run, and its traces."""
HOUR = 3600 * SECOND
ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))
FAILED = Status(code=2)  # type: ignore[arg-type]
OTHER = 1
"""What the second experiment is called in here."""


def shop() -> list[Sent]:
    """Three traces, a minute apart: two in experiment 0, the newest in another one."""
    found: list[Sent] = []
    for number, (trace_id, experiment) in enumerate([(ONE, 0), (TWO, 0), (THREE, OTHER)]):
        at = START + 60 * number * SECOND
        root = span("buy", trace_id, b"\1" * 8, start=at, end=at + 3 * SECOND, attrs={"user": f"u{number}", "n": number})
        failed: dict[str, Any] = {"status": FAILED} if trace_id == TWO else {}
        pay = span("charge", trace_id, b"\2" * 8, b"\1" * 8, at + SECOND, at + 2 * SECOND, kind=2, **failed)
        bank = span("book", trace_id, b"\3" * 8, b"\2" * 8, at + SECOND, at + SECOND + number * 1000, {"ok": True})
        found.append((experiment, request(root, service="web", deployment_environment="test")))
        found.append((experiment, request(pay, service="pay")))
        if trace_id != THREE:
            found.append((experiment, request(bank, service="bank")))
    return found


class TraceReaderContract(ABC):
    """Inherit it in a class whose name begins with Test, and say how the reader is made."""

    other: int
    """The id of the second experiment."""

    @abstractmethod
    def reader_of(self, sent: Sequence[Sent], runs: Sequence[RunOf] = ()) -> TraceReader:
        """A reader of what was sent and written, and of these runs of experiment 0."""

    @pytest.fixture
    def reader(self) -> TraceReader:
        """One of `shop`."""
        return self.reader_of(shop())

    def found(self, reader: TraceReader, **asked: Any) -> list[str]:
        """The first two digits of each trace that a search finds."""
        result = reader.search(Query(**asked))
        assert result.complete
        return [each.trace_id[:2] for each in result.found]

    def test_a_trace_has_all_that_was_sent(self, reader: TraceReader) -> None:
        read = reader.trace(TWO.hex())
        assert read is not None
        assert read.complete
        assert read.experiment_id == 0
        assert spans(read.data) == {each.span_id: each for _, sent in shop()[3:6] for each in spans(sent).values()}

    @pytest.mark.parametrize("trace_id", ["", "9" * 32, "x" * 32, "01" * 8, ONE.hex().upper() + "\0", "%", "tr-" + "01" * 16])
    def test_there_is_no_such_trace(self, reader: TraceReader, trace_id: str) -> None:
        assert reader.trace(trace_id) is None

    def test_what_is_not_in_the_given_experiments_is_not_there(self, reader: TraceReader) -> None:
        assert reader.trace(ONE.hex(), [0]) is not None
        for experiments in ([], [self.other]):
            assert reader.trace(ONE.hex(), experiments) is None
        assert self.found(reader, experiments=[self.other]) == ["03"]
        assert self.found(reader, experiments=[self.other], service="web") == ["03"]
        assert self.found(reader, experiments=[]) == self.found(reader, experiments=[], service="web") == []
        assert reader.services([self.other]) == ["pay", "web"]
        assert reader.services([]) == []
        assert reader.operations("bank", [self.other]) == []
        assert [edge.callee for edge in reader.dependencies(START, START, [self.other])] == ["pay"]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({}, "03 02 01"),
            ({"limit": 2}, "03 02"),
            ({"service": "bank"}, "02 01"),
            ({"service": "nobody"}, ""),
            ({"operation": "book"}, "02 01"),
            ({"service": "web", "operation": "book"}, ""),  # no span is both
            ({"service": "web", "operation": "buy"}, "03 02 01"),
            ({"error": True}, "02"),
            ({"service": "pay", "error": False}, "03 01"),
            ({"service": "web", "error": True}, ""),
            ({"attributes": {"error": "true"}}, "02"),
            ({"attributes": {"error": "false"}, "service": "pay"}, "03 01"),
            ({"attributes": {"user": "u1"}}, "02"),
            ({"attributes": {"n": "0"}}, "01"),
            ({"attributes": {"ok": "true"}}, "02 01"),
            ({"attributes": {"user": "u1", "n": "0"}}, ""),
            ({"attributes": {"deployment.environment": "test"}}, "03 02 01"),
            ({"attributes": {"deployment.environment": "test", "user": "u0"}}, "01"),
            ({"attributes": {"user": "u"}}, ""),
            ({"attributes": {"%": "_"}}, ""),
            ({"attributes": {'a"\\\n\0': "\0"}}, ""),
            ({"operation": "\0"}, ""),
            ({"service": "\0"}, ""),
            ({"min_duration": 2 * SECOND}, "03 02 01"),
            ({"min_duration": 2 * SECOND, "service": "pay"}, ""),
            ({"max_duration": 1000, "service": "bank"}, "02 01"),
            ({"min_duration": 1, "max_duration": 1000}, "02"),
            ({"max_duration": 999, "service": "bank"}, "01"),
            ({"since": START + 60 * SECOND}, "03 02"),
            ({"until": START + 60 * SECOND}, "01"),
            ({"since": START + SECOND, "until": START + 61 * SECOND, "service": "pay"}, "01"),
            ({"since": 2**63, "until": 2**70}, ""),
            ({"min_duration": 2**70}, ""),
        ],
        ids=str,
    )
    def test_search(self, reader: TraceReader, asked: dict[str, Any], expected: str) -> None:
        assert self.found(reader, **asked) == expected.split()

    def test_what_is_found_says_what_it_is(self, reader: TraceReader) -> None:
        third, *_ = reader.search(Query()).found
        assert (third.trace_id, third.experiment_id, third.name) == (THREE.hex(), self.other, "buy")
        assert (third.start, third.duration, third.error) == (START + 120 * SECOND, 3 * SECOND, False)

    def test_services_and_operations(self, reader: TraceReader) -> None:
        assert reader.services() == ["bank", "pay", "web"]
        assert reader.operations("pay") == [Operation("charge", 2)]
        assert reader.operations("nobody") == []

    def test_dependencies(self, reader: TraceReader) -> None:
        expected = [Edge("pay", "bank", 2, 0, 1000), Edge("web", "pay", 3, 1, 3 * SECOND)]
        assert reader.dependencies(START, START + HOUR) == expected
        assert reader.dependencies(START - 9 * HOUR, START - 2 * HOUR) == []
        assert reader.dependencies(0, 2**70) == expected

    def test_a_service_is_found_by_a_name_with_any_letters(self) -> None:
        name = "é %_'\"\\{}\U0001f600"
        reader = self.reader_of([(0, request(span(name, ONE, attrs={name: name}), service=name))])
        assert reader.services() == [name]
        assert reader.operations(name) == [Operation(name, 0)]
        assert self.found(reader, service=name, operation=name, attributes={name: name}) == ["01"]

    def test_activity(self, reader: TraceReader) -> None:
        of_default = Activity(Experiment(0, "Default"), START + 60 * SECOND)
        found = reader.activity()
        assert [each.last for each in found] == [START + 120 * SECOND, START + 60 * SECOND]
        assert found[0].experiment.id == self.other
        assert found[1] == of_default
        assert reader.activity([0]) == [of_default]
        assert reader.activity([]) == []

    def test_runs(self) -> None:
        first = RunTrace("a" * 32, ONE.hex(), START, 3 * SECOND, False, 12, 0.5)
        second = RunTrace("b" * 32, TWO.hex(), START + 60 * SECOND, 3 * SECOND, False)
        early = Run("b" * 32, "early", SECOND, {"accuracy": 0.5, "loss": 2.0})
        late, idle = Run("a" * 32, "late", 2 * SECOND), Run("c" * 32, "idle", 3 * SECOND, {"accuracy": 1.0})
        reader = self.reader_of(shop(), [(early, [second]), (late, [first]), (idle, [])])
        assert reader.runs(0) == Runs([early, late], [second, first], complete=True)
        assert reader.runs(self.other) == Runs([], [], complete=True)
        assert reader.runs(4711) == Runs([], [], complete=True)

    def test_an_empty_reader(self) -> None:
        reader = self.reader_of([])
        assert reader.services() == []
        assert reader.search(Query()).found == []
        assert reader.dependencies(0, 2**63) == []
        assert reader.experiments()[0].name == "Default"
        assert reader.activity([0]) == [Activity(Experiment(0, "Default"), 0)]
        assert reader.runs(0) == Runs([], [], complete=True)


def spans(data: "TracesData | ExportTraceServiceRequest") -> dict[bytes, Span]:
    """The spans, by id."""
    return {each.span_id: each for resource in data.resource_spans for scope in resource.scope_spans for each in scope.spans}
