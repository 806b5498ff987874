"""Scenarios that MLflow's endpoint refuses as a whole, or never answers: one bad value costs a request there.

(A parent cycle alone it stores, see orders.py: it never reaches one from a root. Only the same span twice can hang one on.)

Headrace stores the good spans of each, and the bad ones repaired where it can.
"""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from parity.databases import ARCHIVED
from parity.scenario import Draft, Scenario, of

NUL = "a\x00b"

# name → attributes of a root span that MLflow cannot store
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "NUL in the session": {"session.id": NUL},
    "NUL in the user": {"user.id": NUL},
    "NUL in a tag": {"mlflow.traceTag.team": NUL},
    "NUL in a message": {"input.value": '{"messages": [{"role": "user", "content": "a\\u0000b"}]}'},
    "NUL in the model's name": {"gen_ai.request.model": NUL},
    "NUL in the type": {"mlflow.spanType": NUL},
    "half a surrogate pair in a message": {"input.value": '{"messages": [{"role": "user", "content": "cut \\ud83d"}]}'},
    "half a surrogate pair in the user": {"user.id": '"cut \\ud83d"'},
    "session too long": {"session.id": "s" * 251},
    "user too long": {"user.id": "u" * 8001},
    "trace name too long": {"mlflow.traceTag.mlflow.traceName": "n" * 4097},
    "type too long": {"mlflow.spanType": "t" * 501},
    "type is a map": {"mlflow.spanType": {"a": 1}},
    "kind is a list": {"openinference.span.kind": ["LLM"]},
    "kind is a map": {"gen_ai.operation.name": {"a": 1}},
    "usage is text": {"mlflow.chat.tokenUsage": {"input_tokens": "3", "output_tokens": "4"}},
    "usage is null": {"mlflow.chat.tokenUsage": {"input_tokens": None}},
    "cost is text": {"mlflow.llm.cost": "dear"},
    "cost has text": {"mlflow.llm.cost": {"total_cost": "dear"}},
    "cost is a number": {"mlflow.llm.cost": 5},
    "cost is a list": {"mlflow.llm.cost": [1, 2]},
    "tools are a number": {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.tools": 5},
}


def breaks() -> Iterator[Scenario]:
    """All of them; each has a good trace in the same request."""
    for name, attrs in ATTRIBUTES.items():
        yield _with(name, attrs=attrs)
    yield _with("NUL in a name", name=NUL)
    yield _with("end over int64", end_time_unix_nano=2**63)
    yield _with("start over int64", start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**64 - 1)
    yield _resource("NUL in a resource attribute", {"service.name": NUL})
    yield _resource("bytes in a resource attribute", {"process.hash": b"\x01"})
    yield _resource("bytes deep in a resource attribute", {"process.hashes": [{"a": b"\x01"}]})
    yield from (_twice(), _archived(), _location())
    yield from (_cycle(), _self_parent())


def _with(title: str, **fields: Any) -> Scenario:
    draft = Draft(title)
    draft.send(draft.span("good", trace="good"), draft.span("bad", **fields), draft.span("child", "bad", at=10))
    return draft.done()


def _resource(name: str, resource: dict[str, Any]) -> Scenario:
    draft = Draft(name)
    draft.send(of({"service.name": "good"}, draft.span("good", trace="good")), of(resource, draft.span("bad")))
    return draft.done()


def _twice() -> Scenario:
    draft = Draft("the same span twice in a request")
    error = Status(code=Status.STATUS_CODE_ERROR)
    draft.send(
        draft.span("twice", attrs={"n": 1}), draft.span("good", "twice"), draft.span("twice", attrs={"n": 2}, status=error)
    )
    return draft.done()


def _archived() -> Scenario:
    draft = Draft(ARCHIVED.name)
    draft.send(draft.span("late", trace_id=ARCHIVED.trace_id), draft.span("good", trace="good"))
    return draft.done()


def _location() -> Scenario:
    """A tag that says the spans are elsewhere, and then one span more."""
    draft = Draft("a tag that moves the spans")
    draft.send(draft.span("root", attrs={"mlflow.traceTag.mlflow.trace.spansLocation": "ARTIFACT_REPO"}))
    draft.send(draft.span("child", "root"))
    return draft.done()


def _cycle() -> Scenario:
    """The same span as a root and below its own child: a walk from the root never ends."""
    draft = Draft("a parent cycle that hangs on a root")
    draft.send(draft.span("a"), draft.span("b", "a"), draft.span("a", "b"))
    return draft.done(spins=True)


def _self_parent() -> Scenario:
    draft = Draft("its own parent, once as a root")
    draft.send(draft.span("a"), draft.span("a", "a"))
    return draft.done(spins=True)
