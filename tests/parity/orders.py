"""Scenarios of arrival: one trace over many requests in any order, many traces a request, re-sends, updates."""

import random
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from parity.scenario import DEFAULT_EXPERIMENT, EPOCH, MS, RUN, SECOND_EXPERIMENT, Draft, Scenario, of

OK, ERROR = Status(code=Status.STATUS_CODE_OK), Status(code=Status.STATUS_CODE_ERROR, message="boom")

# label → (parent, service, start and duration in ms, attributes); parents stand before their children
TREE: dict[str, tuple[str, str, int, int, dict[str, Any]]] = {
    "POST /checkout": ("", "checkout", 10, 900, {"http.status_code": 500, "user.id": "u-1", "input.value": '{"cart": 3}'}),
    "reserve": ("POST /checkout", "stock", 20, 300, {"session.id": "s-stock", "user.id": "u-stock"}),
    "SELECT stock": ("reserve", "stock", 25, 80, {"db.system": "postgresql"}),
    "pay": ("POST /checkout", "payment", 330, 400, {"session.id": "s-pay", "user.id": "u-pay"}),
    "score": ("pay", "payment", 340, 100, {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20}),
    "predict": ("score", "model", 345, 90, {"gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 7}),
    "notify": ("POST /checkout", "mail", 800, 2000, {"messaging.system": "kafka"}),  # ends after its root
}


def _tree(draft: Draft, trace: str = "") -> dict[str, ResourceSpans]:
    """Each span of the tree in a resource of its own service."""
    parts: dict[str, ResourceSpans] = {}
    for label, (parent, service, at, ms, attrs) in TREE.items():
        status = ERROR if label == "POST /checkout" else None
        span = draft.span(label, parent, attrs, trace=trace, at=at, ms=ms, kind=2 + len(parts) % 2, status=status)
        parts[label] = of({"service.name": service, f"{service}.version": "1"}, span)
    return parts


def orders() -> Iterator[Scenario]:
    """All of them."""
    yield from _arrivals()
    yield from _batches()
    yield from (_resent(), _resent_in_part(), _far_duplicates(), _far_duplicates_that_count(), _cycles(), _self_parents())
    for name, (first, second) in UPDATES.items():
        yield _update(f"updated: {name}", first, second)
    yield from (_two_roots(), _times(), _moves(), _interleaved(), _one_by_one())


def _arrivals() -> Iterator[Scenario]:
    labels = list(TREE)
    shuffled = [random.Random(seed).sample(labels, len(labels)) for seed in range(4)]
    arrivals = {
        "root first": labels,
        "root last": labels[::-1],
        "root never": labels[1:],
        "root in the middle": [*labels[3:5], labels[0], *labels[5:], *labels[1:3]],
        **{f"shuffled {seed}": order for seed, order in enumerate(shuffled)},
    }
    for name, order in arrivals.items():
        for size in (1, 3, len(order)):
            draft = Draft(f"{name}, {size} spans a request")
            parts = _tree(draft)
            for first in range(0, len(order), size):
                draft.send(*(parts[label] for label in order[first : first + size]))
            yield draft.done()


def _batches() -> Iterator[Scenario]:
    """Traces × spans a request, beyond the hundred rows that MLflow writes in one statement too."""
    for traces, spans in ((1, 1), (10, 10), (32, 8), (128, 1), (1, 250)):
        draft = Draft(f"{traces} traces of {spans} spans in one request")
        sent = [
            draft.span(f"{n}/{i}", f"{n}/{(i - 1) // 2}" if i else "", {"n": n, "i": i}, trace=str(n), at=i)
            for n in range(traces)
            for i in range(spans)
        ]
        draft.send(*sent)
        yield draft.done()


def _resent() -> Scenario:
    draft = Draft("the same request three times")
    parts = _tree(draft).values()
    for _ in range(3):
        draft.send(*parts)
    return draft.done()


def _resent_in_part() -> Scenario:
    draft = Draft("requests that overlap")
    parts = list(_tree(draft).values())
    draft.send(*parts[:4])
    draft.send(*parts[2:6])
    draft.send(*parts[4:], parts[0])
    draft.send(parts[1])
    return draft.done()


def _far_duplicates() -> Scenario:
    """MLflow writes a hundred spans in a statement, so the same span twice in one request passes if it is far apart."""
    draft = Draft("the same span twice in a request, over 100 spans apart")
    between = [draft.span(str(i), "root", at=i) for i in range(120)]
    draft.send(draft.span("root"), draft.span("twice", "root", {"n": 1}, at=1), *between, draft.span("twice", "root", {"n": 2}))
    return draft.done()


def _far_duplicates_that_count() -> Scenario:
    """What MLflow derives of a whole trace sees both of them."""
    draft = Draft("the same span twice in a request, both counted")
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20}
    between = [draft.span(str(i), "root", at=i) for i in range(120)]
    late = draft.span("twice", "root", {**usage, "user.id": "late"}, at=200, ms=1)
    draft.send(draft.span("root"), draft.span("twice", "root", {**usage, "user.id": "u"}, at=-50, ms=5000), *between, late)
    return draft.done()


def _cycles() -> Scenario:
    """Parents in a ring, in one request and over several, with usage and a root beside it."""
    draft = Draft("parent cycles")
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20}
    draft.send(draft.span("a", "b", usage), draft.span("b", "a"), draft.span("below", "a", usage))
    for trace in ("apart", "with a root"):
        draft.send(draft.span("a", "b", usage, trace=trace))
        draft.send(draft.span("b", "a", usage, trace=trace))
    draft.send(draft.span("root", trace="with a root"), draft.span("child", "root", usage, trace="with a root"))
    draft.send(draft.span("a", "c", trace="three"), draft.span("b", "a", trace="three"), draft.span("c", "b", trace="three"))
    return draft.done()


def _self_parents() -> Scenario:
    draft = Draft("spans that are their own parents")
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20, "input.value": "in"}
    draft.send(draft.span("a", "a"), draft.span("b", "a"))
    draft.send(draft.span("a", "a", usage, trace="with usage"))
    draft.send(draft.span("a", "a", usage, trace="with usage"), draft.span("b", "a", usage, trace="with usage"))
    return draft.done()


UPDATES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "finished at last": ({"end_time_unix_nano": 0}, {"status": OK}),
    "unfinished again": ({"status": OK}, {"end_time_unix_nano": 0}),
    "error after ok": ({"status": OK}, {"status": ERROR}),
    "ok after error": ({"status": ERROR}, {"status": OK}),
    "other name and attributes": ({"attrs": {"a": 1, "b": "x" * 100}}, {"name": "renamed", "attrs": {"a": "2"}}),
    "fewer attributes": ({"attrs": {"input.value": "in", "output.value": "out", "user.id": "u"}}, {"attrs": {}}),
    "other previews": ({"attrs": {"input.value": "first"}}, {"attrs": {"input.value": "second", "output.value": "second"}}),
    "starts earlier, ends later": ({}, {"start_time_unix_nano": EPOCH - 50 * MS, "end_time_unix_nano": EPOCH + 5000 * MS}),
    "starts later, ends earlier": ({}, {"start_time_unix_nano": EPOCH + 50 * MS, "end_time_unix_nano": EPOCH + 60 * MS}),
    "gains events and links": ({}, {"events": [Span.Event(name="late")], "links": [Span.Link(span_id=b"12345678")]}),
    "root becomes a child": ({"status": ERROR}, {"parent": "absent"}),
    "child becomes a root": ({"parent": "absent"}, {"status": ERROR}),
    "moves under its own child": ({}, {"parent": "child"}),
}


def _update(name: str, first: dict[str, Any], second: dict[str, Any]) -> Scenario:
    """The same span twice, then once more as it was at first."""
    draft = Draft(name)
    child = draft.span("child", "subject", at=10, ms=20)
    draft.send(draft.span("subject", **first), child)
    draft.send(draft.span("subject", **second))
    draft.send(draft.span("subject", **first))
    return draft.done()


def _two_roots() -> Scenario:
    draft = Draft("several roots in a trace")
    one, two = draft.span("one", status=OK, attrs={"input.value": "1"}), draft.span("two", status=ERROR, at=-500)
    draft.send(draft.span("one", trace="together", status=OK), draft.span("two", trace="together", status=ERROR))
    draft.send(draft.span("two", trace="turned", status=ERROR), draft.span("one", trace="turned", status=OK))
    draft.send(one)
    draft.send(two)
    return draft.done()


def _times() -> Scenario:
    """The trace's time grows to both sides as spans come, finished and unfinished."""
    draft = Draft("times that grow")
    for number, (at, ms, end) in enumerate(((0, 10, 1), (-100, 5, 1), (5, 0, 0), (50, 1000, 1), (-4000, 0, 0), (-90, 1, 1))):
        fields: dict[str, Any] = {} if end else {"end_time_unix_nano": 0}
        draft.send(draft.span(str(number), "root", at=at, ms=ms, **fields))
    draft.send(draft.span("root", at=3, ms=3))
    draft.send(draft.span("alone", trace="unfinished", end_time_unix_nano=0))
    draft.send(draft.span("second", "alone", trace="unfinished", end_time_unix_nano=0, start_time_unix_nano=0))
    draft.send(draft.span("third", "alone", trace="unfinished", at=100))
    return draft.done()


def _moves() -> Scenario:
    """A trace stays in the experiment that it began in, wherever its later spans are sent."""
    draft = Draft("one trace, two experiments")
    draft.send(draft.span("leaf", "root"), experiment=SECOND_EXPERIMENT)
    draft.send(draft.span("root"), draft.span("elsewhere", trace="other"), experiment=DEFAULT_EXPERIMENT)
    draft.send(draft.span("later", "elsewhere", trace="other"), experiment=SECOND_EXPERIMENT, run=RUN)
    draft.send(draft.span("leaf", "root", {"again": True}), experiment=DEFAULT_EXPERIMENT)
    return draft.done()


def _interleaved() -> Scenario:
    """Spans of several traces mixed in one request, and again in the next."""
    draft = Draft("interleaved traces")
    trees = [list(_tree(draft, trace).values()) for trace in ("zz", "mm", "aa", "kk")]
    mixed = [tree[i] for i in range(len(TREE)) for tree in trees]
    draft.send(*mixed[: len(mixed) // 2])
    draft.send(*mixed[len(mixed) // 2 :])
    draft.send(*mixed[::5])
    return draft.done()


def _one_by_one() -> Scenario:
    """What an exporter without batching sends: many small requests of two traces by turns."""
    draft = Draft("40 requests of one span")
    for number in range(40):
        trace = str(number % 2)
        draft.send(draft.span(str(number), "root" + trace if number > 1 else "", {"n": number}, trace=trace, at=number))
    return draft.done()
