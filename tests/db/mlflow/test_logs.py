"""Log records join their spans whatever came first, in any batches, sent again, and by whichever writer."""

import itertools
import json
import random
import threading
from collections import Counter
from typing import Any

import pytest
from conftest import rows
from counters import count
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber

import otlp
from db.mlflow.groups import cut
from db.mlflow.test_order import Part, parts_of, without_root
from db.mlflow.test_order import experiments as experiments  # noqa: PLC0414 - a fixture
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.errors import PermanentExportError
from headrace.mlflow.logs.record import Bound, Record
from headrace.mlflow.translate.readback import to_logs_data, to_traces_data
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.logs import LogWriter
from headrace.mlflow.write.tables import write_traces
from headrace.mlflow.write.waiting import expire, look_again
from headrace.store.database import Database

ROOT, SCORE, AGENT, LLM = (bytes([n]) * 8 for n in (1, 2, 3, 0x34))


def record(trace_id: bytes, span_id: bytes, name: str = "", body: Any = None, time: int = 1, **attributes: Any) -> LogRecord:
    made = LogRecord(
        trace_id=trace_id,
        span_id=span_id,
        event_name=name,
        time_unix_nano=otlp.START + time,
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        attributes=[*otlp.attributes({key.replace("__", "."): value for key, value in attributes.items()})],
    )
    if body is not None:
        made.body.CopyFrom(otlp.value(body))
    return made


def records_of(trace_id: bytes) -> list[LogRecord]:
    """A chat of the model's span, an exception of the root's, other records."""
    return [
        record(trace_id, LLM, "gen_ai.system.message", {"content": "Be brief."}, 1),
        record(trace_id, LLM, "gen_ai.user.message", {"content": "Weather?"}, 2),
        record(trace_id, LLM, "gen_ai.choice", {"index": 0, "message": {"content": "Sunny."}, "finish_reason": "stop"}, 3),
        record(trace_id, ROOT, "", "it failed", 4, exception__type="ValueError", exception__message="no"),
        record(trace_id, ROOT, "gen_ai.user.message", {"content": "Score me"}, 5),
        record(trace_id, ROOT, "gen_ai.choice", {"index": 0, "message": {"content": "0.9"}, "finish_reason": "stop"}, 6),
        record(trace_id, AGENT, "", "cache miss", 7),
        record(trace_id, b"\xee" * 8, "", "of a span that never comes", 8),
    ]


def logs_request(*records: LogRecord, service: str = "agent") -> ExportLogsServiceRequest:
    scope = ScopeLogs(scope=InstrumentationScope(name="my.logger", version="2"), log_records=records)
    resource = otlp.resource_spans(service=service).resource
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])])


def logs_delivery(request: Any, experiment: int, limit: Limit | None = None) -> Delivery:
    destinations = tuple(pb.Destination(experiment_id=str(experiment)) for _ in request.resource_logs)
    return Delivery(request, destinations, "", 0, "", limit=limit)


def spans_delivery(parts: list[Part]) -> Delivery:
    request = ExportTraceServiceRequest(resource_spans=[resource_spans for _, resource_spans in parts])
    return Delivery(request, tuple(destination for destination, _ in parts), "", 0, "")


class Writers:
    """The two writers of one worker."""

    def __init__(self, database: Database, bound: Bound | None = None) -> None:
        self.database = database
        self.spans = BulkWriter(database, enrich=True, bound=bound)
        self.logs = LogWriter(database, self.spans)

    def write_spans(self, *requests: list[Part]) -> None:
        self.spans.write(self.spans.translate([spans_delivery(parts) for parts in requests]))

    def write_logs(self, *requests: Delivery) -> None:
        self.logs.write(self.logs.translate(list(requests)))

    def look_again(self) -> None:
        while look_again(self.spans, self.database):
            pass
        while look_again(self.spans, self.database):  # what was noted in the last round
            pass


def contents(url: str, trace_id: bytes) -> list[str]:
    found = rows(url, "SELECT content FROM spans WHERE trace_id = %s ORDER BY span_id", f"tr-{trace_id.hex()}")
    return [row["content"] for row in found]


def plain(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def stored(url: str, trace_id: bytes) -> str:
    """All that the tables say of the trace and its log records, with its id blotted out."""
    id_ = f"tr-{trace_id.hex()}"
    found: list[Any] = [
        rows(url, "SELECT * FROM trace_info WHERE request_id = %s", id_),
        rows(url, "SELECT * FROM trace_tags WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT * FROM trace_request_metadata WHERE request_id = %s ORDER BY key", id_),
        rows(url, "SELECT * FROM spans WHERE trace_id = %s ORDER BY span_id", id_),
        rows(url, "SELECT rank, start, span_id FROM headrace.movable_trace WHERE trace_id = %s", id_),
        rows(url, "SELECT span_id FROM headrace.waiting_log WHERE trace_id = %s ORDER BY 1", id_),
    ]
    del found[0][0]["db_payload_generation"]  # it counts requests
    logs = to_logs_data([span["content"] for span in found[3]])
    for span in found[3]:
        span["content"] = json.loads(span["content"])
        span["content"]["otlp"].pop("logs", None)
        del span["content"]["trace_id"]
    said = [log for resource in logs.resource_logs for scope in resource.scope_logs for log in scope.log_records]
    for log in said:
        log.ClearField("trace_id")
    return json.dumps([found, sorted(map(str, said))], default=str, indent=1).replace(trace_id.hex(), "…")


@pytest.mark.parametrize("make", [parts_of, without_root])
def test_spans_and_logs_in_any_order_make_the_same_trace(
    database: Database, database_url: str, experiments: dict[str, int], make: Any
) -> None:
    writers = [Writers(database), Writers(database)]
    chance = random.Random(7)
    results: Counter[str] = Counter()
    for number in range(1, 13):
        trace_id = number.to_bytes(16, "big")
        items: list[Any] = [*make(trace_id, experiments), *records_of(trace_id)]
        chance.shuffle(items)
        items += chance.sample(items, number % 5)  # some are sent again
        for batch in cut(items, chance):
            writer = chance.choice(writers)
            parts = [item for item in batch if not isinstance(item, LogRecord)]
            logs = [item for item in batch if isinstance(item, LogRecord)]
            steps: list[Any] = [(writer.write_spans, cut(parts, chance) if parts else [])]
            steps.append((writer.write_logs, [logs_delivery(logs_request(*logs), experiments["agent"])] if logs else []))
            chance.shuffle(steps)
            for write, requests in steps:
                if requests:
                    write(*requests)
        results[stored(database_url, trace_id)] += 1
    assert len(results) == 1, "\n=====\n".join(sorted(results)[:2])
    (found, logs) = json.loads(next(iter(results)))
    assert len(logs) == (7 if make is parts_of else 4)
    assert {row["span_id"] for row in found[5]} == ({"ee" * 8} if make is parts_of else {"ee" * 8, ROOT.hex()})


def write_all(writers: Writers, experiments: dict[str, int], trace_id: bytes) -> None:
    writers.write_spans(parts_of(trace_id, experiments))
    writers.write_logs(logs_delivery(logs_request(*records_of(trace_id)), experiments["agent"]))


def attributes(url: str, trace_id: bytes, span_id: bytes) -> dict[str, Any]:
    (row,) = rows(url, "SELECT content FROM spans WHERE trace_id = %s AND span_id = %s", f"tr-{trace_id.hex()}", span_id.hex())
    found: dict[str, Any] = json.loads(row["content"])
    return {key: json.loads(value) for key, value in found["attributes"].items()} | {"events": found["events"]}


def test_they_make_a_chat_of_the_model_s_span_and_events_of_others(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    write_all(Writers(database), experiments, trace_id := b"c" * 16)
    llm = attributes(database_url, trace_id, LLM)
    assert [(message["role"], message["parts"][0]["content"]) for message in llm["mlflow.spanInputs"]] == [
        ("system", "Be brief."),
        ("user", "Weather?"),
    ]
    assert llm["mlflow.spanOutputs"][0]["parts"] == [{"type": "text", "content": "Sunny."}]
    (event,) = attributes(database_url, trace_id, AGENT)["events"]
    assert event["name"] == "INFO"
    assert event["attributes"] == {"log.body": "cache miss", "log.severity_text": "INFO", "log.severity_number": 9}
    (exception,) = attributes(database_url, trace_id, ROOT)["events"]
    assert exception["name"] == "exception"
    assert exception["attributes"]["exception.type"] == "ValueError"


def test_what_was_sent_can_be_read_back(database: Database, database_url: str, experiments: dict[str, int]) -> None:
    write_all(Writers(database), experiments, trace_id := b"r" * 16)
    stored = contents(database_url, trace_id)
    origins = {row["digest"]: bytes(row["origin"]) for row in rows(database_url, "SELECT digest, origin FROM headrace.origin")}
    back = to_traces_data(stored, origins)
    spans = {span.span_id: span for resource in back.resource_spans for scope in resource.scope_spans for span in scope.spans}
    for _, resource_spans in parts_of(trace_id, experiments):
        for span in resource_spans.scope_spans[0].spans:
            assert plain(spans[span.span_id]) == plain(span)
    sent = logs_request(*records_of(trace_id))
    logs = to_logs_data(stored)
    for resource in logs.resource_logs:
        assert plain(resource.resource) == plain(sent.resource_logs[0].resource)
        assert plain(resource.scope_logs[0].scope) == plain(sent.resource_logs[0].scope_logs[0].scope)
    found = [plain(log) for resource in logs.resource_logs for log in resource.scope_logs[0].log_records]
    assert sorted(found) == sorted(plain(log) for log in records_of(trace_id)[:-1])


def chat_of(trace_id: bytes) -> list[LogRecord]:
    """Of a span, all told within the same millisecond, as Node's clock has it."""
    said = [("user", "Paris?"), ("assistant", "Sunny."), ("user", "Rome?"), ("tool", "21"), ("user", "Oslo?")]
    return [record(trace_id, LLM, f"gen_ai.{role}.message", {"content": content}, 0) for role, content in said]


@pytest.mark.parametrize("first", ["spans", "logs"])
def test_messages_of_the_same_time_stand_as_they_were_sent(
    database: Database, database_url: str, experiments: dict[str, int], first: str
) -> None:
    """Also where a part of them is sent again, alone, and where the span is."""
    writers = Writers(database)
    for number in range(4):
        trace_id = bytes([number + 1]) * 15 + first[:1].encode()
        logs = logs_delivery(logs_request(*chat_of(trace_id)), experiments["agent"])
        some = logs_delivery(logs_request(*chat_of(trace_id)[:number]), experiments["agent"])
        steps: list[Any] = [
            lambda id_=trace_id: writers.write_spans(parts_of(id_, experiments)),
            lambda logs=logs: writers.write_logs(logs),
            lambda some=some: writers.write_logs(some),
        ]
        for step in [*(steps if first == "spans" else steps[::-1]), steps[number % 3]]:
            step()
        chat = attributes(database_url, trace_id, LLM)["mlflow.spanInputs"]
        texts = [part.get("content") or part["response"] for message in chat for part in message["parts"]]
        assert texts == ["Paris?", "Sunny.", "Rome?", "21", "Oslo?"]


def test_a_record_stands_at_its_least_position_whatever_came_first(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    """It comes in two requests, in each at another place; before its span, around it, after it."""
    writers = Writers(database)
    results: Counter[str] = Counter()
    for number, order in enumerate(itertools.permutations(["chat", "last", "spans"])):
        trace_id = bytes([0xA0 + number]) * 16
        chat = chat_of(trace_id)
        for step in order:
            if step == "spans":
                writers.write_spans(parts_of(trace_id, experiments))
            else:
                logs = chat if step == "chat" else [chat[0], chat[-1]]
                writers.write_logs(logs_delivery(logs_request(*logs), experiments["agent"]))
        results[json.dumps(attributes(database_url, trace_id, LLM)["mlflow.spanInputs"])] += 1
        assert waiting(database_url, trace_id) == 0
    assert len(results) == 1, results


def waiting(url: str, trace_id: bytes) -> int:
    return len(rows(url, "SELECT 1 FROM headrace.waiting_log WHERE trace_id = %s", f"tr-{trace_id.hex()}"))


def test_a_span_that_was_written_while_nobody_could_see_its_records_gets_them_all_the_same(
    database: Database, database_url: str, experiments: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer of the span looks before the record is committed, and commits after the span was looked for."""
    writers, trace_id = Writers(database), b"m" * 16
    one = records_of(trace_id)[:3]

    def write_logs_in_between(*args: Any) -> Any:
        writers.write_logs(logs_delivery(logs_request(*one), experiments["agent"]))
        writers.look_again()
        return write_traces(*args)

    monkeypatch.setattr("headrace.mlflow.write.bulk.write_traces", write_logs_in_between)
    writers.write_spans(parts_of(trace_id, experiments))
    monkeypatch.undo()
    assert waiting(database_url, trace_id) == 3
    writers.look_again()
    assert waiting(database_url, trace_id) == 0
    assert "mlflow.spanInputs" in attributes(database_url, trace_id, LLM)


def test_a_span_that_never_comes_is_looked_for_no_more_and_its_records_expire(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    writers, trace_id = Writers(database), b"n" * 16
    writers.write_logs(logs_delivery(logs_request(*records_of(trace_id)), experiments["agent"]))
    writers.look_again()
    assert not rows(database_url, "SELECT 1 FROM headrace.waiting_log WHERE look_at IS DISTINCT FROM 9223372036854775807")
    assert expire(database, 3600, 2**30) == 0
    assert expire(database, 3600, 1000) > 0
    assert 0 < waiting(database_url, trace_id) < 8
    assert expire(database, 0, 2**30) > 0
    assert waiting(database_url, trace_id) == 0


def said(url: str, trace_id: bytes) -> list[tuple[str, str]]:
    """The log records of a trace's spans."""
    found = [
        log for resource in to_logs_data(contents(url, trace_id)).resource_logs for log in resource.scope_logs[0].log_records
    ]
    return [(log.event_name, str(log.body)) for log in found]


@pytest.mark.parametrize("bound", [Bound(4, 20_000), Bound(bytes=1500)])
def test_a_span_keeps_no_more_records_than_it_may_and_always_the_same(
    database: Database, database_url: str, experiments: dict[str, int], bound: Bound
) -> None:
    """Some are big: a small one does not take the place of a big one that was too much when it came. One is too big for any."""
    writers = Writers(database, bound)
    kept = []
    for number in range(6):
        trace_id = bytes([0x60 + number]) * 15 + bytes([bound.records % 256])
        many = [record(trace_id, LLM, "", f"line {index}" + "x" * (index % 3 * 180), index) for index in range(9)]
        huge = record(trace_id, LLM, "gen_ai.user.message", {"content": "x" * bound.bytes}, 0)
        items: list[Any] = [*many, huge, *records_of(trace_id)[:3], parts_of(trace_id, experiments)]
        random.Random(number).shuffle(items)
        for item in [*items, *items[:number]]:
            if isinstance(item, LogRecord):
                writers.write_logs(logs_delivery(logs_request(item), experiments["agent"]))
            else:
                writers.write_spans(item)
        kept.append(said(database_url, trace_id))
        assert waiting(database_url, trace_id) == 0
    assert 3 < len(kept[0]) < 12
    assert all(names == kept[0] for names in kept)


def test_a_span_reads_what_waits_for_it_and_not_what_waits_for_its_trace(
    database: Database, experiments: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    writers, trace_id = Writers(database), b"o" * 16
    many = [record(trace_id, bytes([7, number] * 4), "", f"line {number}") for number in range(50)]
    writers.write_logs(logs_delivery(logs_request(*many, *records_of(trace_id)), experiments["agent"]))
    read, of = Counter[bytes](), Record.of

    def note(data: bytes, position: int) -> Record:
        read[data] += 1
        return of(data, position)

    monkeypatch.setattr(Record, "of", note)
    writers.write_spans(parts_of(trace_id, experiments))
    assert read.total() == len(records_of(trace_id)) - 1


def test_records_that_push_out_others_are_counted(database: Database, experiments: dict[str, int]) -> None:
    """One that ranks before them may take the place of several."""
    writers, trace_id = Writers(database, Bound(bytes=1000)), b"q" * 16
    writers.write_spans(parts_of(trace_id, experiments))
    small = [record(trace_id, LLM, "", f"line {index}" + "x" * 100, 5 + index) for index in range(3)]
    writers.write_logs(logs_delivery(logs_request(*small), experiments["agent"]))
    before = joined_and_over()
    writers.write_logs(logs_delivery(logs_request(record(trace_id, LLM, "", "x" * 600, 1)), experiments["agent"]))
    assert [after - count for after, count in zip(joined_and_over(), before, strict=True)] == [1, 2]


def joined_and_over() -> list[float]:
    return [count("headrace_logs_joined_total"), count("headrace_logs_expired_total", reason="over_span")]


@pytest.mark.parametrize("first", ["spans", "logs"])
def test_a_limited_key_adds_nothing_to_a_trace_of_another_experiment(
    database: Database, database_url: str, experiments: dict[str, int], first: str
) -> None:
    writers, trace_id = Writers(database), first.encode().ljust(16, b"k")
    limit = Limit(frozenset([experiments["agent"]]), frozenset())
    foreign = logs_delivery(logs_request(*records_of(trace_id)), experiments["agent"], limit)
    if first == "spans":
        writers.write_spans(parts_of(trace_id, experiments))
        with pytest.raises(PermanentExportError, match="The API key may change traces of these only") as refused:
            writers.write_logs(foreign)
        assert {spans.delivery for spans in refused.value.rejected} == {0}
    else:
        writers.write_logs(foreign)
        writers.write_spans(parts_of(trace_id, experiments))
        assert waiting(database_url, trace_id) == 1  # of the span that never comes
    assert not to_logs_data(contents(database_url, trace_id)).resource_logs


def test_writers_of_spans_and_of_logs_meet_on_the_same_traces(
    database: Database, database_url: str, experiments: dict[str, int]
) -> None:
    """Two writers, each with half of it all, at the same time; nothing deadlocks, nothing is missing."""
    ids = [bytes([0x80 + number]) * 16 for number in range(12)]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        writers, chance = Writers(database), random.Random(number)
        items: list[Any] = []
        for trace_id in ids:
            items += [item for item in [*parts_of(trace_id, experiments), *records_of(trace_id)] if chance.random() < 0.7]
            items += [*parts_of(trace_id, experiments), *records_of(trace_id)][number::2]
        chance.shuffle(items)
        try:
            for batch in cut(items, chance):
                if parts := [item for item in batch if not isinstance(item, LogRecord)]:
                    writers.write_spans(parts)
                if logs := [item for item in batch if isinstance(item, LogRecord)]:
                    writers.write_logs(logs_delivery(logs_request(*logs), experiments["agent"]))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    Writers(database).look_again()
    assert len({stored(database_url, trace_id) for trace_id in ids}) == 1
    assert waiting(database_url, ids[0]) == 1
