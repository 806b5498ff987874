"""One body through the pure core of Headrace, as the receiver and the worker take it, and what has to hold at each step."""

import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from parity.sent import has_end

from fuzz.bodies import MAX_BYTES, Headers, Target
from fuzz.messages import parts_of
from headrace.config import Config, load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import AnyRequest, Request, Sender
from headrace.errors import HeadraceError, Unroutable
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.logs.coming import coming
from headrace.mlflow.logs.record import Bound, packed, unpacked
from headrace.mlflow.metrics.names import MAX_NAME, Naming
from headrace.mlflow.metrics.translate import translate
from headrace.mlflow.model import SpanRow, Trace, TracePart
from headrace.mlflow.translate.completed import completion
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.readback import to_span
from headrace.otlp.attributes import to_dict
from headrace.otlp.codec import Encoding, encode, encoding_of
from headrace.otlp.compression import inflate
from headrace.otlp.signals import LOGS, METRICS, TRACES, Decoded
from headrace.pipeline import processors
from headrace.processor import chain
from headrace.processor.points import Points
from headrace.processor.route import route_resource
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict
from headrace.receiver.answers import status_of

LIMIT = 4 * MAX_BYTES
"""Of inflated bodies."""
POLICIES: tuple[FoldPolicy[Any, Any], ...] = (RootDecides(), ArrivalOrder())
MAX_INT64 = 2**63 - 1
MAX_SECONDS = 1.0
"""Of CPU time, for each 64 KiB of a body (inflated)."""

KNOWN_FAILURES = (psycopg.Error,)
"""What the worker dead-letters a span for: a test in test_core.py says why of each."""


@dataclass
class Tally:
    """What became of the bodies so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    permanent: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    inflated: int = 0
    """Bytes of the last body."""

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        return f"{self.outcomes.total()} bodies ({outcomes}), {self.spans} spans translated twice, slowest {self.slowest:.3f} s"


def run(target: Target, count: int, seed: str, longest: int = MAX_BYTES) -> Tally:
    """Mutates what the corpus has, and what was accepted of that, `count` times. The same bodies for the same seed.

    `longest` bounds the bodies with which it begins, in bytes before they are compressed.
    """
    random = Random(f"{target.name} {seed}")
    pool = list(target.seeds(longest))
    tally = Tally()
    for _ in range(count):
        data = random.choice(pool)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            data = target.mutate(data, random)
        before = tally.spans
        try:
            drive(*target.split(data), tally)
        except Exception as error:
            raise AssertionError(f"{target.name}: {type(error).__name__} on {data!r}") from error
        if tally.spans > before and random.random() < 0.1:
            pool[random.randrange(len(pool))] = data
    return tally


def drive(headers: Headers, body: bytes, tally: Tally) -> None:
    """Takes one body all the way. Whatever but a `HeadraceError` comes out is a finding, and so is a broken rule."""
    started = time.process_time()
    tally.inflated = 0
    encoding = encoding_of(headers.content_type)
    try:
        outcome = _take(headers, body, encoding, tally)
    except HeadraceError as error:
        encode(status_of(error), encoding)
        outcome = f"{error.http_status} {type(error).__name__}"
    seconds = time.process_time() - started
    tally.slowest = max(tally.slowest, seconds)
    tally.outcomes[outcome] += 1
    most = MAX_SECONDS * max(1, tally.inflated / MAX_BYTES)
    assert seconds <= most, f"{len(body)} bytes, {tally.inflated} inflated, took {seconds:.2f} s"


def _take(headers: Headers, body: bytes, encoding: Encoding, tally: Tally) -> str:
    plain = inflate(body, headers.content_encoding, LIMIT)
    assert len(plain) <= LIMIT
    tally.inflated = len(plain)
    decoded = headers.signal.decode(plain, encoding)
    if headers.signal is METRICS:
        return _take_metrics(headers, decoded, encoding, tally)
    taken: Any = Request(decoded.message, Sender({}), decoded.original, decoded.unparsed, decoded.notes, headers.signal)
    verdict = Verdict.of(taken)
    chain((Validate(),) if headers.signal is TRACES else processors(_config())[headers.signal], taken, verdict)
    encode(headers.signal.answer(verdict.rejected.total(), verdict.explain()), encoding)
    request = decoded.message
    if headers.signal is LOGS:
        return _take_logs(taken, verdict)
    if taken.original is not None:
        assert ExportTraceServiceRequest.FromString(taken.original).SerializeToString() == request.SerializeToString()
    destinations = _route(request)
    spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert verdict.accepted == len(spans)
    for policy in POLICIES:
        envelope = Delivery(request, destinations, "", 0, "").to_envelope()
        delivery = Delivery.from_envelope(envelope)  # what was acknowledged can be read again
        try:
            parts = to_parts(delivery, tally.repaired, policy)
        except KNOWN_FAILURES as error:
            tally.permanent[f"{type(error).__name__}: {error}"[:100]] += 1
            return "dead-lettered"
        _check_parts(parts, policy)
        if policy.enriches:
            _check_nothing_is_lost(spans, parts)
    tally.spans += len(spans)
    return "accepted" if spans else "all rejected" if verdict.received else "empty"


def _take_logs(taken: Any, verdict: Verdict) -> str:
    """Log records: what is accepted can be queued, read again, and joined with a span."""
    signal = taken.signal
    taken.destinations = [pb.Destination(experiment_id="0") for _ in taken.resources]
    delivery = Delivery.from_envelope(taken.to_envelope())
    assert verdict.accepted == signal.form.count(delivery.request)
    resources: Any = delivery.request
    records = [each.record for each in coming(resources, delivery.destinations, None)]
    assert len(records) == verdict.accepted
    kept = Bound().keep(records)
    assert unpacked(packed(kept.records)) == kept.records
    completion(Span(), kept)
    return "accepted" if verdict.accepted else "all rejected" if verdict.received else "empty"


def _take_metrics(headers: Headers, decoded: Decoded, encoding: Encoding, tally: Tally) -> str:
    sender = Sender({"x-mlflow-run-id": "r"})
    taken: AnyRequest = Request(decoded.message, sender, decoded.original, decoded.unparsed, decoded.notes, METRICS)
    verdict = Verdict.of(taken)
    chain((Points(50_000),), taken, verdict)
    encode(headers.signal.answer(verdict.rejected.total(), verdict.explain()), encoding)
    assert verdict.accepted == METRICS.form.count(decoded.message)
    destinations = tuple(pb.Destination(run_id="r") for _ in decoded.message.resource_metrics)
    delivery = Delivery.from_envelope(Delivery(decoded.message, destinations, "", 0, "", signal=METRICS).to_envelope())
    for held in translate([delivery], Naming("{name}{attributes}"), ("step",), tally.repaired).values():
        assert all(len(name) <= MAX_NAME and "\0" not in name for name in held.names)
    return "accepted"


def _route(request: ExportTraceServiceRequest) -> tuple[pb.Destination, ...]:
    """Each resource's route is told, or refused; either way it goes to one experiment here."""
    for resource_spans in request.resource_spans:
        try:
            route = route_resource(to_dict(resource_spans.resource.attributes), _config())
        except Unroutable as error:
            encode(status_of(error), Encoding.JSON)
        else:
            destination = pb.Destination(experiment_id=str(route.id), experiment_name=route.name, routed_by=route.routed_by)
            assert len(destination.experiment_name) <= 256
    return tuple(pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_DEFAULT) for _ in request.resource_spans)


@lru_cache
def _config() -> Config:
    rules = [{"match": {"service.name": "shop-*", "n": "[0-9]*"}, "experiment": "shop {a.b}"}]
    return load(default_experiment="{service.name}", routes=json.dumps(rules))


def _check_parts(parts: list[TracePart], policy: FoldPolicy[Any, Any]) -> None:
    """The rows fit their columns, alone and folded into a trace, also when they come a second time."""
    for part in parts:
        for row in part.spans.values():
            _check_row(row)
        trace = policy.create(part)
        policy.apply(trace, part)
        policy.decide(trace)
        _check_trace(trace)


def _check_row(row: SpanRow) -> None:
    for text in (row.name, row.parent_span_id, row.type, row.status, row.content, row.model_name, row.model_provider):
        _check_text(text)
    for text in (row.type, row.model_name, row.model_provider):
        _check_text(text, 500)
    _check_integers(row.start_time_unix_nano, row.end_time_unix_nano, row.end_time_unix_nano - row.start_time_unix_nano)
    _check_figures(row.input_cost, row.output_cost, row.total_cost)
    json.loads(row.content)


def _check_trace(trace: Trace) -> None:
    for text, longest in (
        (trace.request_preview, 1000),
        (trace.response_preview, 1000),
        (trace.trace_name, 4096),
        (trace.session_id, 250),
        (trace.user_id, 8000),
    ):
        _check_text(text, longest)
    for key, value in trace.tags.items():
        _check_text(key, 250)
        _check_text(value, 8000)
    _check_integers(trace.timestamp_ms, trace.execution_time_ms, *trace.tokens)
    _check_figures(*trace.costs)


def _check_text(text: str | None, longest: int | None = None) -> None:
    if text is not None:
        assert "\0" not in text
        text.encode()
        assert longest is None or len(text) <= longest, text[:200]


def _check_integers(*values: int | None) -> None:
    assert all(value is None or (type(value) is int and -MAX_INT64 - 1 <= value <= MAX_INT64) for value in values), values


def _check_figures(*values: float | None) -> None:
    assert all(value is None or math.isfinite(value) for value in values), values


def _check_nothing_is_lost(spans: list[Span], parts: list[TracePart]) -> None:
    """What is stored gives back each span; of one that comes twice the last, unless only an earlier one has an end."""
    stored = {(part.trace_id, span_id): row.content for part in parts for span_id, row in part.spans.items()}
    sent: dict[tuple[str, str], Span] = {}
    for span in spans:
        key = f"tr-{span.trace_id.hex()}", span.span_id.hex()
        if has_end(span) or key not in sent or not has_end(sent[key]):
            sent[key] = span
    assert stored.keys() == sent.keys()
    for key, span in sent.items():
        read = to_span(json.loads(stored[key]))
        assert read == span or _normal(read) == _normal(span)


def _normal(span: Span) -> bytes:
    """Serialized, without what says the same as nothing: unknown fields, an empty Status, an AnyValue that is not set.

    And without the index into a table of strings that only profiles have.
    """
    copy = Span.FromString(span.SerializeToString())
    if not copy.status.code and not copy.status.message:
        copy.ClearField("status")
    for part in parts_of(copy):
        part.DiscardUnknownFields()  # of the whole span it goes down to the 64th level only
        if isinstance(part, KeyValue):
            part.ClearField("key_strindex")
            part.value.SetInParent()
    return copy.SerializeToString(deterministic=True)


def memory_mib(field: str) -> int:
    """`VmRSS`, or `VmHWM`, its peak, of this process. Linux only."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) // 1024
