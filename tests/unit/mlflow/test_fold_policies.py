"""What every `FoldPolicy` keeps, and what each of the two keeps beside that. No I/O: what is stored was folded."""

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.fold.trees import added
from headrace.mlflow.keys import TRACKING_STORE, to_trace_id
from headrace.mlflow.model import Node, Root, StoredTrace, Totals, Trace, TracePart, TraceRow, earliest
from headrace.mlflow.translate.parts import to_parts

Policy = FoldPolicy[Any, Any]

POLICIES: dict[str, Policy] = {"ArrivalOrder": ArrivalOrder(), "RootDecides": RootDecides()}
TRACE, ROOT = b"t" * 16, b"\1" * 8
USAGE = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 30}

each = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


def requests() -> list[Delivery]:
    """One trace of four services; each says other things of it."""

    def request(service: str, *spans: Any, experiment: int = 1, run: str = "", **resource: str) -> Delivery:
        destination = pb.Destination(experiment_id=str(experiment), routed_by=pb.ROUTED_BY_RULE)
        return Delivery(otlp.request(*spans, service=service, **resource), (destination,), run, 0, "")

    start = otlp.START
    checkout = {"http.request.method": "POST", "url.path": "/checkout", "session.id": "of the root"}
    return [
        request("checkout", otlp.span("root", TRACE, ROOT, b"", start, start + 900, checkout), run="r", region="eu", tier="1"),
        request("scorer", otlp.span("score", TRACE, b"\2" * 8, ROOT, start + 10, attrs={"user.id": "zoe"}), experiment=2,
                region="us", zone="b"),
        request("agent", otlp.span("llm", TRACE, b"\3" * 8, ROOT, start - 5_000_000, attrs=USAGE), experiment=2, zone="a"),
        request("model", otlp.span("late", TRACE, b"\4" * 8, b"\2" * 8, start, start + 9_000_000_000,
                                   USAGE | {"user.id": "adam", "session.id": "z"}), experiment=3, zone="c"),
    ]  # fmt: skip


def translated(policy: Policy, deliveries: list[Delivery]) -> list[TracePart]:
    return [part for delivery in deliveries for part in to_parts(delivery, Counter(), policy)]


@dataclass
class Memory:
    """Keeps one trace as Postgres would, between one batch and the next."""

    policy: Policy
    stored: StoredTrace | None = None
    roots: dict[str, Root] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    spans: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def write(self, parts: list[TracePart]) -> Trace:
        """What the bulk writer does with a batch, step by step."""
        policy, trace, rest = self.policy, None, list(parts)
        if self.stored is None:
            trace = policy.create(rest.pop(0))
        else:
            trace = policy.open(self.stored)
            if policy.roots_wanted(sum(len(part.spans) for part in parts)):
                policy.take_stored_roots(trace, self.roots)
            if any(policy.needs_nodes(trace, part) for part in parts):
                trace.nodes = dict(self.nodes)
        for part in rest:
            policy.apply(trace, part)
        if self.stored is not None and policy.totals_wanted(trace):
            self._take_totals(trace)
        assert not policy.needs_others(trace)  # no root of `requests` says less when it comes again
        verdict = policy.decide(trace)
        self._keep(trace, parts, verdict.precedence if verdict else None)
        return trace

    def _take_totals(self, trace: Trace) -> None:
        """Adds the spans to those that are remembered, or takes all spans."""
        totals = self.stored.totals if self.stored else None
        if totals is not None and added(totals, trace.nodes, self.nodes):
            trace.totals = totals
        else:
            trace.nodes = self.nodes | trace.nodes

    def _keep(self, trace: Trace, parts: list[TracePart], precedence: Any) -> None:
        self.nodes |= trace.nodes
        self.spans |= trace.spans
        self.tags |= trace.tags
        for part in parts:
            self.roots |= getattr(part.values, "roots", {})
        row = TraceRow(*(getattr(trace, name) for name in TraceRow._fields))
        totals = Totals.loaded(trace.totals.dumped()) if trace.totals else None
        self.stored = StoredTrace(row, dict(self.tags), trace.user_id, trace.finalized, precedence, totals=totals)

    def state(self) -> tuple[Any, ...]:
        """All that a reader of MLflow's tables sees."""
        assert self.stored is not None
        return self.stored.row, sorted(self.stored.tags.items()), self.stored.user_id, sorted(self.spans)


def cuts(items: list[Any]) -> list[list[list[Any]]]:
    """Each way to cut a list into batches, in its order."""
    inner = range(1, len(items))
    places = itertools.chain.from_iterable(itertools.combinations(inner, n) for n in range(len(items)))
    return [[items[a:b] for a, b in itertools.pairwise([0, *at, len(items)])] for at in places]


def fold(policy: Policy, batches: list[list[TracePart]]) -> Memory:
    memory = Memory(policy)
    for batch in batches:
        memory.write(batch)
    return memory


@each
def test_batches_leave_what_the_same_requests_leave_one_by_one(policy: Policy) -> None:
    """In each order."""
    for deliveries in itertools.permutations(requests()):
        parts = translated(policy, list(deliveries))
        one_by_one = fold(policy, [[part] for part in parts]).state()
        for batches in cuts(parts):
            assert fold(policy, batches).state() == one_by_one


@each
def test_a_batch_that_comes_again_changes_nothing(policy: Policy) -> None:
    parts = translated(policy, requests())
    memory = fold(policy, [parts])
    before = memory.state()
    memory.write(parts)
    assert memory.state() == before


@each
def test_what_no_policy_decides(policy: Policy) -> None:
    """Times, runs, spans, the tag of the spans' place."""
    parts = translated(policy, requests())
    trace = Memory(policy).write(parts)
    assert (trace.trace_id, trace.stored, trace.run_ids) == (to_trace_id(TRACE), None, {"r"})
    assert trace.timestamp_ms == (otlp.START - 5_000_000) // 1_000_000
    assert trace.timestamp_ms + (trace.execution_time_ms or 0) == (otlp.START + 9_000_000_000) // 1_000_000
    assert trace.tags["mlflow.trace.spansLocation"] == TRACKING_STORE
    assert trace.spans.keys() == trace.nodes.keys() == {bytes([n] * 8).hex() for n in (1, 2, 3, 4)}
    assert trace.tokens[0] == 60
    assert not trace.moved


@each
def test_a_stored_trace_is_opened_as_it_stands(policy: Policy) -> None:
    memory = fold(policy, [translated(policy, requests())])
    assert memory.stored is not None
    trace = policy.open(memory.stored)
    assert tuple(getattr(trace, name) for name in TraceRow._fields) == memory.stored.row
    assert (trace.user_id, trace.stored_tags, trace.tags, trace.spans) == (memory.stored.user_id, memory.tags, {}, {})
    assert not trace.moved
    assert not trace.begins_earlier


@each
def test_what_mlflow_s_client_has_reported_stands(policy: Policy) -> None:
    reported = TraceRow(
        trace_id=to_trace_id(TRACE),
        experiment_id=7,
        timestamp_ms=5,
        execution_time_ms=6,
        status="ERROR",
        request_preview="asked",
        response_preview="answered",
        trace_name="named",
        session_id="session",
        tokens=[9, None, 9, None, None, None],
        costs=[None, None, None],
    )
    memory = Memory(policy, StoredTrace(reported, {}, "user", finalized=True))
    memory.write(translated(policy, requests()[:1]))
    memory.write(translated(policy, requests()[3:]))
    assert memory.stored is not None
    times = ("timestamp_ms", "execution_time_ms") if policy.enriches else ()  # MLflow keeps them only where there are totals
    for column in (
        "experiment_id",
        "status",
        "request_preview",
        "response_preview",
        "trace_name",
        "session_id",
        "tokens",
        *times,
    ):
        assert getattr(memory.stored.row, column) == getattr(reported, column), column
    assert memory.stored.user_id == "user"


def test_the_root_decides_in_any_order_and_any_batches() -> None:
    policy, chance, states = POLICIES["RootDecides"], random.Random(7), set()
    for deliveries in itertools.permutations(requests()):
        parts = translated(policy, [*deliveries, *chance.sample(deliveries, 2)])  # some come again
        states |= {repr(fold(policy, batches).state()) for batches in chance.sample(cuts(parts), 6)}
    assert len(states) == 1
    memory = fold(policy, [translated(policy, requests())])
    assert memory.stored is not None
    row = memory.stored.row
    assert (row.trace_name, row.request_preview, row.status, row.session_id) == ("root", "POST /checkout", "OK", "of the root")
    assert (row.experiment_id, memory.stored.user_id) == (1, "adam")
    assert {key: memory.tags[key] for key in ("region", "tier", "zone")} == {"region": "eu", "tier": "1", "zone": "a"}


def test_without_a_root_the_verdict_says_so_and_keeps_the_precedence() -> None:
    policy = RootDecides()
    trace = Memory(policy).write(translated(policy, requests()[1:]))
    verdict = policy.decide(trace)
    assert (verdict.root, trace.status, trace.experiment_id) == (None, "IN_PROGRESS", 2)
    assert verdict.precedence is not None
    assert verdict.precedence.start == otlp.START - 5_000_000


def test_a_new_root_that_says_less_than_the_last_asks_for_what_all_others_have_said() -> None:
    policy = RootDecides()
    memory = fold(policy, [translated(policy, requests()[:1])])
    assert memory.stored is not None
    destination = pb.Destination(experiment_id="1", routed_by=pb.ROUTED_BY_RULE)
    earlier = Delivery(otlp.request(otlp.span("earlier", TRACE, b"\7" * 8, start=otlp.START - 1)), (destination,), "", 0, "")
    trace = policy.open(memory.stored)
    policy.take_stored_roots(trace, memory.roots)
    assert not policy.needs_others(trace)
    policy.apply(trace, translated(policy, [earlier])[0])
    assert policy.needs_others(trace)
    policy.take_other(trace, {"tier": "1"}, "of the root", None)
    policy.decide(trace)
    assert (trace.trace_name, trace.session_id, trace.tags["tier"]) == ("earlier", "of the root", "1")


def test_a_copy_without_an_end_does_not_take_the_place_of_a_whole_span_that_is_there() -> None:
    policy = RootDecides()
    memory = fold(policy, [translated(policy, requests())])
    assert memory.stored is not None
    destination = pb.Destination(experiment_id="1", routed_by=pb.ROUTED_BY_RULE)
    running = Delivery(otlp.request(otlp.span("running", TRACE, ROOT, end=0)), (destination,), "", otlp.START, "")
    trace = policy.open(memory.stored)
    policy.take_stored_roots(trace, memory.roots)
    policy.take_whole(trace, ROOT.hex())
    policy.apply(trace, translated(policy, [running])[0])
    verdict = policy.decide(trace)
    assert (verdict.superseded, trace.spans, trace.trace_name) == (1, {}, memory.stored.row.trace_name)


def test_arrival_order_takes_the_first_session_and_user_and_the_last_tags() -> None:
    policy = ArrivalOrder()
    memory = fold(policy, [translated(policy, [request]) for request in requests()])
    assert memory.stored is not None
    row = memory.stored.row
    assert (row.experiment_id, row.session_id, memory.stored.user_id) == (1, "of the root", "zoe")
    assert (memory.tags["region"], memory.tags["zone"], memory.tags["service.name"]) == ("us", "c", "model")
    backwards = fold(policy, [translated(policy, [request]) for request in reversed(requests())])
    assert backwards.stored is not None
    assert (backwards.stored.row.experiment_id, backwards.stored.row.session_id, backwards.stored.user_id) == (3, "z", "adam")


def test_arrival_order_remembers_nothing_and_asks_for_no_roots() -> None:
    policy = ArrivalOrder()
    trace = policy.create(translated(policy, requests())[0])
    assert policy.decide(trace) is None  # type: ignore[func-returns-value]
    assert (policy.roots_wanted(100), policy.needs_others(trace), policy.may_move) == (0, False, False)


def test_of_several_roots_the_earliest_decides() -> None:
    policy = RootDecides()
    spans = [otlp.span(name, TRACE, bytes([n]) * 8, start=otlp.START + n) for n, name in ((3, "c"), (1, "a"), (2, "b"))]
    destination = pb.Destination(experiment_id="1", routed_by=pb.ROUTED_BY_RULE)
    (part,) = to_parts(Delivery(otlp.request(*spans), (destination,), "", 0, ""), Counter(), policy)
    root = earliest(part.values.roots)
    assert root is not None
    assert root.name == "a"
