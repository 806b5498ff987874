"""Log records as they are kept: each once, in an order of their own, as many as may be."""

import itertools
import json
import random
from collections.abc import Sequence

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import AnyDelivery, by_trace, halves, set_apart, singles
from headrace.mlflow.logs.coming import coming
from headrace.mlflow.logs.record import Bound, Kept, Rank, Record, name_of, packed, parsed, unpacked
from headrace.mlflow.translate.completed import completion
from headrace.mlflow.translate.note import cut_of, note_of_logs
from headrace.otlp.attributes import to_dict
from headrace.otlp.order import time_of
from headrace.otlp.signals import LOGS
from headrace.rejected import RejectedRecord


def resource_logs(*logs: LogRecord, service: str | None = "agent", scope: str | None = "logger") -> ResourceLogs:
    attributes = [KeyValue(key="service.name", value=AnyValue(string_value=service or ""))]
    return ResourceLogs(
        resource=None if service is None else Resource(attributes=attributes),
        scope_logs=[ScopeLogs(scope=None if scope is None else InstrumentationScope(name=scope), log_records=logs)],
    )


def records(*resources: ResourceLogs) -> list[Record]:
    """As they come in one request."""
    nowhere = [pb.Destination(experiment_id="0") for _ in resources]
    return [each.record for each in coming(ExportLogsServiceRequest(resource_logs=resources), nowhere, None)]


def line(number: int, name: str = "", size: int = 0) -> LogRecord:
    body = AnyValue(string_value=f"line {number}" + "x" * size)
    return LogRecord(trace_id=b"t" * 16, span_id=b"s" * 8, time_unix_nano=number, event_name=name, body=body)


def test_they_come_back_as_they_were_whatever_they_stand_in() -> None:
    found = records(
        resource_logs(line(1), line(2)),
        resource_logs(line(3), service="other"),
        resource_logs(line(4), scope=None),
        resource_logs(line(5), service=None),
        resource_logs(line(6)),
    )
    assert unpacked(packed(sorted(found))) == sorted(found)
    assert {str(parsed(record.data).body.string_value) for record in found} == {f"line {number}" for number in range(1, 7)}
    assert all(Record.of(record.data) == record for record in found)


def test_records_of_equal_time_stand_as_they_were_sent() -> None:
    def told(number: int, time: int = 5) -> LogRecord:
        said = line(number, "gen_ai.user.message")
        said.time_unix_nano = time
        return said

    for numbers in itertools.permutations(range(4)):
        found = records(resource_logs(*(told(number) for number in numbers[:3])), resource_logs(told(numbers[3]), service="b"))
        texts = [parsed(record.data).body.string_value for record in sorted(found)]
        assert texts == [f"line {number}" for number in numbers]
        assert unpacked(packed(sorted(found))) == sorted(found)
    assert [record.rank.position for record in records(resource_logs(told(0), told(1, 6), told(2), line(5)))] == [0, 0, 1, 2]


def test_positions_are_counted_for_each_span() -> None:
    other = LogRecord(trace_id=b"t" * 16, span_id=b"u" * 8, time_unix_nano=1)
    assert [record.rank.position for record in records(resource_logs(line(1), other, line(1)))] == [0, 0, 1]


def test_the_same_record_is_one_and_another_resource_makes_another() -> None:
    same = records(resource_logs(line(1)), resource_logs(line(1)))
    assert len(Bound().keep(same).records) == 1
    assert len(Bound().keep(records(resource_logs(line(1)), resource_logs(line(1), service="b"))).records) == 2


def test_a_record_that_came_at_several_positions_stands_at_the_least() -> None:
    first, second = records(resource_logs(line(1), line(1)))
    for order in ([first, second], [second, first], [second, second, first]):
        assert Bound().keep(order).records == [first]


def test_the_rank_of_a_cut_that_was_noted_before_there_were_positions() -> None:
    assert cut_of({"otlp": {"log_cut": [1, 7, "ab"]}}) == Rank(1, 7, 0, "ab")
    assert cut_of({"otlp": {"log_cut": [1, 7, "ab"], "log_cut_position": 2}}) == Rank(1, 7, 2, "ab")


@pytest.mark.parametrize("position", [0, 3])
def test_a_cut_is_noted_as_versions_before_positions_read_it(position: int) -> None:
    cut = Rank(1, 7, position, "ab")
    (record,) = records(resource_logs(line(1)))
    note = json.loads("{" + note_of_logs(Kept([record], cut), 0).removeprefix(", ") + "}")
    assert note["log_cut"] == [1, 7, "ab"]
    assert cut_of({"otlp": note}) == cut


def split_up(delivery: AnyDelivery, chance: random.Random) -> list[AnyDelivery]:
    """A delivery in all ways that a delivery is split."""
    apart, others = set_apart(delivery, ["0", "0"], [RejectedRecord(number, "bad", 0) for number in (0, 3)])
    ways: list[list[AnyDelivery]] = [
        list(halves(delivery) or [delivery]),
        [part for _, part in by_trace(delivery)],
        singles(delivery),
        [*(part for part, _ in apart), others],
        [Delivery.from_envelope(delivery.to_envelope())],
    ]
    parts = chance.choice(ways)
    return [more for part in parts for more in split_up(part, chance)] if len(parts) > 1 else parts


def test_records_of_a_request_that_is_split_stand_as_in_the_whole() -> None:
    """A batch is split when Postgres refuses it, or when Kafka's records are too small for it: the end is the same."""
    said = [line(number, "gen_ai.user.message" if number % 3 else "") for number in range(8)]
    for number, log in enumerate(said):
        log.time_unix_nano = 5 + number // 6
        log.trace_id = (b"t" if number % 4 else b"u") * 16
    request = ExportLogsServiceRequest(resource_logs=[resource_logs(*said[:5]), resource_logs(*said[5:], service="b")])
    whole = Delivery(request, (pb.Destination(experiment_id="0"),) * 2, "", 0, "", signal=LOGS)

    def read(parts: Sequence[AnyDelivery]) -> list[Record]:
        return sorted(
            each.record for part in parts for each in coming(part.request, part.destinations, None, 0, part.positions)
        )

    assert max(record.rank.position for record in read([whole])) == 3
    for seed in range(60):
        assert read(split_up(whole, random.Random(seed))) == read([whole]), seed


def kept_in_steps(bound: Bound, order: Sequence[Record], chance: random.Random) -> Kept:
    """What a span keeps if its records come in this order, some at a time, and those that were too many are forgotten."""
    kept, coming = Kept(), list(order)
    while coming:
        some = chance.randrange(1, len(coming) + 1)
        kept = bound.keep([*kept.records, *coming[:some]], kept.cut)
        coming = coming[some:]
    return kept


@pytest.mark.parametrize("bound", [Bound(3), Bound(bytes=150), Bound(0), Bound(4, 600)])
@pytest.mark.parametrize("sizes", [(0,) * 6, (9, 300, 0, 70, 0, 2), (500, 0, 0, 0, 120, 20)])
def test_the_same_ones_stay_whatever_came_first(bound: Bound, sizes: tuple[int, ...]) -> None:
    """Also where those that were too many are forgotten in between, and where a big one makes no room for a small one."""
    lines = [line(number, "" if number < 5 else "gen_ai.choice", size) for number, size in enumerate(sizes)]
    for said in lines[2:4]:
        said.time_unix_nano = 2  # so that they have positions
    found = records(resource_logs(*lines))
    again = [record.at(record.rank.position + 2) for record in found[:2]]
    whole = bound.keep(found)
    assert len(whole.records) < len(found)
    for number, order in enumerate(itertools.islice(itertools.permutations([*found, *again]), 0, None, 907)):
        kept = kept_in_steps(bound, order, random.Random(number))
        assert (kept.records, kept.cut) == (whole.records, whole.cut)


def test_a_record_that_alone_is_too_much_costs_no_other() -> None:
    huge, small = records(resource_logs(line(1, "gen_ai.choice", 2000), line(2)))
    kept = Bound(bytes=1000).keep([huge, small])
    assert (kept.records, kept.cut, kept.over) == ([small], None, 1)


def test_genai_content_stays_before_all_else_and_then_the_earliest() -> None:
    found = records(resource_logs(line(2), line(1), line(9, "gen_ai.user.message")))
    kept = Bound(2).keep(found)
    assert [parsed(record.data).time_unix_nano for record in kept.records] == [9, 1]
    assert kept.over == 1


def test_an_event_s_name_and_time() -> None:
    named = LogRecord(attributes=[KeyValue(key="event.name", value=AnyValue(string_value="gen_ai.choice"))])
    assert name_of(named) == "gen_ai.choice"
    assert name_of(line(1)) == ""
    assert time_of(LogRecord(observed_time_unix_nano=7)) == 7


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (AnyValue(string_value="it failed"), "it failed"),
        (AnyValue(string_value=""), ""),
        (AnyValue(int_value=-(2**63)), -(2**63)),
        (AnyValue(double_value=0.5), 0.5),
        (AnyValue(bool_value=False), False),
        (AnyValue(bytes_value=b"\xff\x00"), "/wA="),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(bytes_value=b"\xff")])), '[1, "/w=="]'),
        (AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="é", value=AnyValue())])), '{"é": null}'),
        (AnyValue(kvlist_value=KeyValueList()), "{}"),
        (AnyValue(), None),
        (None, None),
    ],
)
def test_a_body_of_any_kind_is_shown(body: AnyValue | None, shown: object) -> None:
    """Bytes as OTLP's JSON has them; nothing where there is none."""
    said = LogRecord(trace_id=b"t" * 16, span_id=b"s" * 8, body=body, severity_number=SeverityNumber.SEVERITY_NUMBER_WARN2)
    (event,) = completion(Span(start_time_unix_nano=5), Bound().keep(records(resource_logs(said)))).events
    assert (event.name, event.time_unix_nano) == ("WARN2", 5)
    assert to_dict(event.attributes).get("log.body") == shown
