"""Log records as they are kept: each once, in an order of their own, as many as may be."""

import itertools
import random

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from headrace.mlflow.logs.record import Bound, Record, name_of, packed, parsed, records_of, time_of, unpacked


def resource_logs(*logs: LogRecord, service: str | None = "agent", scope: str | None = "logger") -> ResourceLogs:
    attributes = [KeyValue(key="service.name", value=AnyValue(string_value=service or ""))]
    return ResourceLogs(
        resource=None if service is None else Resource(attributes=attributes),
        scope_logs=[ScopeLogs(scope=None if scope is None else InstrumentationScope(name=scope), log_records=logs)],
    )


def records(*resources: ResourceLogs) -> list[Record]:
    return [record for resource in resources for _, record in records_of(resource)]


def line(number: int, name: str = "") -> LogRecord:
    body = AnyValue(string_value=f"line {number}")
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


def test_the_same_record_is_one_and_another_resource_makes_another() -> None:
    same = records(resource_logs(line(1)), resource_logs(line(1)))
    assert len(Bound().keep(same)[0]) == 1
    assert len(Bound().keep(records(resource_logs(line(1)), resource_logs(line(1), service="b")))[0]) == 2


@pytest.mark.parametrize("bound", [Bound(3), Bound(bytes=150), Bound(0)])
def test_the_same_ones_stay_whatever_came_first(bound: Bound) -> None:
    """Also where those that were too many are forgotten in between."""
    found = records(resource_logs(*(line(number) for number in range(5)), line(9, "gen_ai.choice")))
    outcomes: set[tuple[Record, ...]] = set()
    for order in itertools.islice(itertools.permutations(found), 0, None, 37):
        kept: list[Record] = []
        chance = random.Random(len(outcomes))
        coming = list(order)
        while coming:
            some = chance.randrange(1, len(coming) + 1)
            kept, _ = bound.keep([*kept, *coming[:some]])
            coming = coming[some:]
        outcomes.add(tuple(kept))
    (outcome,) = outcomes
    assert outcome == tuple(bound.keep(found)[0])
    assert len(outcome) < len(found)


def test_genai_content_stays_before_all_else_and_then_the_earliest() -> None:
    found = records(resource_logs(line(2), line(1), line(9, "gen_ai.user.message")))
    kept, over = Bound(2).keep(found)
    assert [parsed(record.data).time_unix_nano for record in kept] == [9, 1]
    assert over == 1


def test_an_event_s_name_and_time() -> None:
    named = LogRecord(attributes=[KeyValue(key="event.name", value=AnyValue(string_value="gen_ai.choice"))])
    assert name_of(named) == "gen_ai.choice"
    assert name_of(line(1)) == ""
    assert time_of(LogRecord(observed_time_unix_nano=7)) == 7
