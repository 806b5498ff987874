"""Scenarios of MLflow's own concepts: inputs and outputs, tokens and cost over a tree, sessions, users, tags, runs, and traces
that MLflow's client began before the first OTLP span came."""

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from parity.databases import SEEDED
from parity.scenario import DELETED_EXPERIMENT, DELETED_RUN, EPOCH, MISSING_RUN, MS, RUN, SECOND_EXPERIMENT, Draft, Scenario, of

Attributes = dict[str, Any]

CHAT_IN = {
    "messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "Hi 🌍"}, {"role": "tool", "content": "?"}]
}
CHAT_OUT = {"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}
PREVIEWS: dict[str, tuple[Any, Any]] = {
    "text": ("question", "answer"),
    "chat": (CHAT_IN, CHAT_OUT),
    "chat as JSON text": (json.dumps(CHAT_IN), json.dumps(CHAT_OUT, ensure_ascii=False)),
    "content parts": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "look"}]}]},
        {"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "seen"}]}]},
    ),
    "text parts": (
        {"messages": [{"role": "user", "content": [5, "a part that is text", "another"]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "text"}, {"type": "text", "text": "second"}]}]},
    ),
    "a number for text": (CHAT_IN, {"messages": [{"role": "assistant", "content": [{"type": "text", "text": 5}]}]}),
    "responses": (
        {"input": [{"role": "user", "content": "in"}], "model": "gpt-4o"},
        {"output": [{"role": "x", "content": "y"}]},
    ),
    "nested request": ({"request": {"input": [{"role": "user", "content": "deep"}]}}, {"request": {}}),
    "no text": ({"messages": [{"role": "user", "content": []}]}, {"messages": [{"role": "assistant", "content": ""}]}),
    "no messages": ({"messages": ["x", {}]}, {"choices": []}),
    "long": ("x" * 1001, {"messages": [{"role": "assistant", "content": "ü🌍" * 600}]}),
    "just fits": ("y" * 998, "z" * 1000),
    "empty": ("", {}),
    "numbers": (7, 0.5),
    "lists": ([1, "a", {"b": None}], []),
    "null": (None, "null"),
    "unicode": ("Grüße 🌍", {"köln": "ß"}),
}
USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"


def usage(input_tokens: Any, output_tokens: Any, **more: Any) -> dict[str, Any]:
    """Token usage as MLflow's client dumps it."""
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens} | more


def genai(model: str, provider: str, input_tokens: int, output_tokens: int, **more: Any) -> Attributes:
    """A model call in the GenAI conventions."""
    named = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "gen_ai.provider.name": provider}
    return named | {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens} | more


def concepts() -> Iterator[Scenario]:
    """All of them."""
    yield from (_previews(), _late_previews(), _client(), _client_over_otlp(), _models(), _odd_usage(), _odd_cost())
    yield from _rollups()
    yield from (_usage_resent(), _usage_by_far_parts())
    yield from (_sessions(), _late_sessions(), _users(), _tags(), _location_tag(), _tag_collisions(), _known_services())
    yield from (_runs(), _runs_again(), _run_of_100_traces(), _run_of_many_traces(), _deleted_experiment())
    yield from (_begun(name) for name in SEEDED)


def _previews() -> Scenario:
    """As values, and as an exporter sends them that has dumped each as JSON before."""
    draft = Draft("previews")
    plain, dumped = [], []
    for name, (inputs, outputs) in PREVIEWS.items():
        attrs = {"mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
        plain += [draft.span("root", attrs=attrs, trace=name), draft.span("child", "root", attrs, trace=name)]
        texts = {key: json.dumps(value) for key, value in attrs.items()}
        dumped.append(draft.span("root", attrs=texts, trace=f"{name}, dumped"))
    draft.send(*plain)
    draft.send(*dumped)
    return draft.done()


def _late_previews() -> Scenario:
    """The first root with inputs decides; a later one fills what is still missing."""
    draft = Draft("previews that come late")
    draft.send(draft.span("child", "root", {"input.value": "not a root's"}))
    draft.send(draft.span("root", attrs={"output.value": "first output"}))
    draft.send(draft.span("second root", attrs={"input.value": "first input", "output.value": "second output"}))
    draft.send(draft.span("root", attrs={"input.value": "second input"}))
    both = [draft.span(f"root {i}", attrs={"input.value": f"of root {i}"}, trace="two roots") for i in (1, 2)]
    draft.send(*both)
    last = "the last root is plain"
    draft.send(draft.span("first", attrs={"input.value": "of no use"}, trace=last), draft.span("second", trace=last))
    return draft.done()


def _client() -> Scenario:
    """What MLflow's own client sends to its server's `/v1/traces`."""
    draft = Draft("MLflow's client")
    root = {
        "mlflow.traceRequestId": f"tr-{draft.trace_id().hex()}",
        "mlflow.spanType": "AGENT",
        "mlflow.spanFunctionName": "answer",
        "mlflow.spanInputs": {"question": "Grüße?", "n": 3},
        "mlflow.spanOutputs": ["a", {"b": 1.5}],
        "mlflow.spanLogLevel": 20,
        "mlflow.experimentId": "0",
    }
    model = {
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanInputs": CHAT_IN | {"model": "gpt-4o"},
        "mlflow.spanOutputs": CHAT_OUT,
        "mlflow.message.format": "openai",
        "mlflow.chat.tools": [{"type": "function", "function": {"name": "f"}}],
        "mlflow.llm.model": "gpt-4o",
        "mlflow.llm.provider": "openai",
        USAGE: usage(10, 20, cache_read_input_tokens=4),
        COST: {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75},
    }
    draft.send(draft.span("answer", attrs=root), draft.span("Completions", "answer", model, at=10))
    draft.send(draft.span("odd type", "answer", {"mlflow.spanType": "UNKNOWN", "gen_ai.operation.name": "chat"}))
    draft.send(draft.span("own type", "answer", {"mlflow.spanType": "MY_TYPE", "openinference.span.kind": "LLM"}))
    draft.send(draft.span("no type", "answer", {"mlflow.spanType": "", "openinference.span.kind": "LLM"}))
    draft.send(draft.span("null type", "answer", {"mlflow.spanType": None, "openinference.span.kind": "TOOL"}))
    types: tuple[Any, ...] = (7, 1.5, True, ["LLM"], [1, 2], [], "LLM " * 100, "ü", '"LLM"')  # Postgres casts what is no text
    draft.send(*(draft.span(f"type {i}", "answer", {"mlflow.spanType": kind}) for i, kind in enumerate(types)))
    draft.send(draft.span("false request id", "answer", {"mlflow.traceRequestId": "tr-" + "0" * 32}))
    return draft.done()


def _client_over_otlp() -> Scenario:
    """What MLflow's client sends through OpenTelemetry's exporter: each value dumped as JSON once more."""
    draft = Draft("MLflow's client, through OpenTelemetry's exporter")
    attrs = {"mlflow.spanType": "LLM", "mlflow.spanInputs": {"q": "ü"}, "mlflow.spanOutputs": "text", USAGE: usage(1, 2)}
    dumped = {key: json.dumps(value) for key, value in attrs.items()}
    tagged = {"mlflow.traceTag.team": "search", "mlflow.traceTag.mlflow.traceName": "named", "user.id": "u", "session.id": "s"}
    draft.send(draft.span("root", attrs=dumped | tagged), draft.span("child", "root", dumped, at=5))
    return draft.done()


def _models() -> Scenario:
    """Costs of models in and outside of MLflow's catalogue; the provider is a help, and may be wrong."""
    draft = Draft("costs of models")
    models = [
        *(("gpt-4o", "openai"), ("gpt-4o", "OpenAI"), ("gpt-4o", ""), ("gpt-4o", "nobody"), ("openai/gpt-4o-mini", "")),
        *(("claude-sonnet-4-5", "anthropic"), ("gemini-2.5-pro", "gcp.gemini"), ("text-embedding-3-small", "openai")),
        *(("no-such-model", "openai"), ("gateway:/mine", ""), ("endpoints:/mine", ""), ("databricks-claude-sonnet-4-5", "")),
        *(("codestral-latest", ""), ("codestral-latest", "codestral"), ("dall-e-3", "")),  # free, or without a price, somewhere
        *(("m" * 600, "p" * 600), ("ü🌍", "ü"), ("", "openai"), ("12", "34"), ("{}", "[]")),
    ]
    calls = [genai(model, provider, 1000 + number, 100) for number, (model, provider) in enumerate(models)]
    draft.send(*(draft.span("call", attrs=call, trace=str(number)) for number, call in enumerate(calls)))
    cached = {"gen_ai.usage.cache_read.input_tokens": 800, "gen_ai.usage.cache_write.input_tokens": 150}
    draft.send(draft.span("call", attrs=genai("claude-sonnet-4-5", "anthropic", 1000, 10, **cached), trace="cached"))
    above = usage(100, 10, cache_creation_input_tokens=80, cache_creation_input_tokens_above_1hr=30)
    model = {"mlflow.llm.model": "claude-sonnet-4-5", "mlflow.llm.provider": "anthropic"}
    draft.send(draft.span("call", attrs={USAGE: above, **model}, trace="above an hour"))
    for place in ("mlflow.spanInputs", "mlflow.spanOutputs"):
        draft.send(draft.span("call", attrs={place: {"model": "gpt-4o"}, USAGE: usage(5, 5)}, trace=place))
    return draft.done()


def _odd_usage() -> Scenario:
    draft = Draft("odd usage")
    odd: dict[str, Any] = {
        "floats": {"input_tokens": 1.0, "output_tokens": 2.5, "total_tokens": 3.5},
        "only a total": {"total_tokens": 9},
        "empty": {},
        "minus": usage(-1, -2),
        "beyond bigint": {"input_tokens": 2**63 - 1, "output_tokens": 1, "total_tokens": 2**63 - 1},
        "true": {"input_tokens": True, "output_tokens": False},
        "JSON text": json.dumps(usage(3, 4)),
        "text": "many",
        "list": [1, 2],
        "null": None,
        "number": 5,
        "more keys": usage(1, 1, reasoning_tokens=5, cache_creation_input_tokens=2, cache_creation_input_tokens_above_1hr=1),
    }
    model = {"mlflow.llm.model": "gpt-4o"}
    draft.send(*(draft.span("call", attrs={USAGE: value, **model}, trace=name) for name, value in odd.items()))
    draft.send(*(draft.span("other", "call", {USAGE: usage(1, 2)}, trace=name) for name in odd))
    sums = {f"big {i}": usage(2**61, 2**61) for i in range(5)}  # in sum over what a bigint holds
    draft.send(*(draft.span(name, "absent", {USAGE: value}, trace="sum") for name, value in sums.items()))
    return draft.done()


def _odd_cost() -> Scenario:
    draft = Draft("odd cost")
    odd: dict[str, Any] = {
        "whole": {"input_cost": 1, "output_cost": 2, "total_cost": 3},
        "in part": {"total_cost": 0.5},
        "infinite": {"input_cost": float("inf"), "output_cost": float("nan"), "total_cost": 1.0},
        "true": {"input_cost": True, "output_cost": 1.5, "total_cost": 2.5},
        "empty": {},
        "JSON text": '{"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.30000000000000004}',
    }
    draft.send(*(draft.span("call", attrs={COST: value}, trace=name) for name, value in odd.items()))
    draft.send(*(draft.span("other", "call", {COST: {"total_cost": 0.125}}, trace=name) for name in odd))
    return draft.done()


# A tree whose agent already sums up its calls: label → (parent, attributes)
ROLLUP: dict[str, tuple[str, Attributes]] = {
    "root": ("", {"mlflow.spanType": "CHAIN"}),
    "agent": ("root", {USAGE: usage(330, 33), "mlflow.spanType": "AGENT"}),
    "step": ("agent", {}),
    "call 1": ("step", genai("gpt-4o", "openai", 100, 10)),
    "call 2": ("step", genai("gpt-4o-mini", "openai", 200, 20)),
    "retry": ("call 2", genai("gpt-4o-mini", "openai", 30, 3)),
    "outside": ("root", genai("claude-sonnet-4-5", "anthropic", 7, 7)),
    "lost": ("absent", {USAGE: usage(1000, 1), COST: {"input_cost": 0.5, "output_cost": 0.25, "total_cost": 0.75}}),
}


def _rollups() -> Iterator[Scenario]:
    """Its spans in pieces: whatever order they come in, usage and cost must not be counted twice, nor forgotten."""
    labels = list(ROLLUP)
    orders = [labels, labels[::-1], *(random.Random(seed).sample(labels, len(labels)) for seed in range(6))]
    for (number, order), size in itertools.product(enumerate(orders), (1, 3, 8)):
        if size == 8 and number > 1:
            continue
        draft = Draft(f"usage over a tree, order {number}, {size} spans a request")
        for first in range(0, len(order), size):
            draft.send(*(draft.span(label, *ROLLUP[label], at=labels.index(label)) for label in order[first : first + size]))
        draft.send(draft.span("call 1", *ROLLUP["call 1"], at=3))
        yield draft.done()


def _usage_resent() -> Scenario:
    """The same span with other usage, with none, and a parent that gains it at last."""
    draft = Draft("usage that changes")
    draft.send(draft.span("root"), draft.span("call", "root", genai("gpt-4o", "openai", 100, 10)))
    draft.send(draft.span("call", "root", genai("gpt-4o", "openai", 50, 5)))
    draft.send(draft.span("other", "root", genai("gpt-4o", "openai", 1, 1)))
    draft.send(draft.span("call", "root"))
    draft.send(draft.span("third", "root", {USAGE: usage(2, 2)}))
    draft.send(draft.span("root", attrs={USAGE: usage(5, 5)}))
    draft.send(draft.span("root"), draft.span("third", "elsewhere", {USAGE: usage(4, 4)}))
    draft.send(draft.span("zero", "root", {USAGE: usage(0, 0), COST: {"total_cost": 0.0}}))
    return draft.done()


def _usage_by_far_parts() -> Scenario:
    """Several traces a request, some with usage and some without, in three rounds."""
    draft = Draft("usage of many traces in rounds")
    for turn in range(3):
        spans = []
        for number in range(12):
            attrs = genai("gpt-4o", "openai", number + 1, turn + 1) if (number + turn) % 3 else {}
            parent = "" if turn == 1 else "1"
            spans.append(draft.span(str(turn), parent, attrs, trace=str(number), at=turn))
        draft.send(*spans)
    return draft.done()


SESSIONS: dict[str, Attributes] = {
    "session": {"session.id": "s-1"},
    "conversation": {"gen_ai.conversation.id": "c-1"},
    "both": {"gen_ai.conversation.id": "c-2", "session.id": "s-2"},
    "empty session": {"session.id": "", "gen_ai.conversation.id": "c-3"},
    "number": {"session.id": 42},
    "JSON text": {"session.id": '"quoted"'},
    "list": {"session.id": ["a", 1]},
    "map": {"session.id": {"a": "ü"}},
    "unset": {"session.id": None, "user.id": None},
    "just fits": {"session.id": "s" * 250},
    "unicode": {"session.id": "ß🌍", "user.id": "ü"},
    "false": {"session.id": False, "user.id": False},
}


def _sessions() -> Scenario:
    draft = Draft("sessions")
    late = {"session.id": "late", "user.id": "late"}
    draft.send(*(draft.span("root", attrs=attrs, trace=name) for name, attrs in SESSIONS.items()))
    draft.send(*(draft.span("child", "root", late, trace=name) for name in SESSIONS))
    return draft.done()


def _late_sessions() -> Scenario:
    draft = Draft("sessions and users that come late")
    draft.send(draft.span("a", "root"), draft.span("b", "root", {"session.id": ""}))
    draft.send(draft.span("c", "root", {"session.id": "first", "user.id": "first"}))
    draft.send(draft.span("root", attrs={"session.id": "root's", "user.id": "root's"}))
    return draft.done()


def _users() -> Scenario:
    draft = Draft("users")
    users: list[Any] = ["u", "", 7, 1.5, True, '"quoted"', ["a"], {"id": "x"}, "u" * 8000, "null", None, b"u"]
    spans = []
    for number, user in enumerate(users):
        spans.append(draft.span("root", attrs={"user.id": user}, trace=str(number)))
        spans.append(draft.span("child", "root", {"user.id": "second"}, trace=str(number)))
    draft.send(*spans)
    return draft.done()


def _tags() -> Scenario:
    draft = Draft("tags from attributes")
    tags = {
        "team": "search",
        "number": 7,
        "map": {"a": [1, "ü"]},
        "text of a map": '{"a": 1}',
        "flag": True,
        "unset": None,
        "empty": "",
        "quoted": '"q"',
        "v": "v" * 8000,
        "w": "w" * 8001,
        "k" * 250: "just fits",
        "l" * 251: "too long",
        "a:b": "odd",
        "bad\nkey": "never",
        "../up": "never",
        "": "no key",
        "mlflow.traceName": "the trace's name 🌍",
    }
    attrs = {f"mlflow.traceTag.{key}": value for key, value in tags.items()}
    draft.send(draft.span("root", attrs=attrs), draft.span("child", "root", {"mlflow.traceTag.child": "ignored"}))
    draft.send(
        draft.span("second root", attrs={"mlflow.traceTag.team": "other", "mlflow.traceTag.mlflow.traceName": "renamed"})
    )
    names = ("", "n" * 4096, 7, {"a": 1}, '"q"')
    draft.send(
        *(draft.span("root", attrs={"mlflow.traceTag.mlflow.traceName": n}, trace=f"name {i}") for i, n in enumerate(names))
    )
    return draft.done()


def _location_tag() -> Scenario:
    draft = Draft("reserved tags")
    reserved = ("trace.spansLocation", "artifactLocation", "trace.archiveLocation", "trace.archivalFailure", "user")
    draft.send(draft.span("root", attrs={f"mlflow.traceTag.mlflow.{key}": "ELSEWHERE" for key in reserved}))
    return draft.done()


def _tag_collisions() -> Scenario:
    """A tag of the root wins over its resource's; a later request's resource wins over both."""
    draft = Draft("tags that collide")
    root = draft.span("root", attrs={"mlflow.traceTag.region": "root's", "mlflow.traceTag.own": "root's"})
    draft.send(of({"region": "resource's", "mlflow.traceTag.x": "no tag"}, root))
    draft.send(of({"region": "second's", "added": 1}, draft.span("child", "root")))
    draft.send(of({"region": "third's"}, draft.span("last", "root")), of({"region": "never"}, draft.span("more", "root")))
    return draft.done()


def _known_services() -> Scenario:
    """MLflow's endpoint puts the names of a few known clients on their root spans."""
    draft = Draft("known services")
    for number, service in enumerate(("claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code", "Claude-Code")):
        root = draft.span("root", trace=service, attrs={"service.name": "own"} if number % 2 else {"a": 1})
        draft.send(of({"service.name": service}, root, draft.span("child", "root", trace=service)))
    known, other = [("service.name", "gemini-cli")], [("service.name", "x")]
    twice = [*of(dict(known)).resource.attributes, *of(dict(other)).resource.attributes]
    draft.send(of(twice, draft.span("root", trace="twice")), of(twice[::-1], draft.span("root", trace="turned")))
    draft.send(of({"service.name": ["gemini-cli"]}, draft.span("root", trace="list")))
    return draft.done()


def _runs() -> Scenario:
    draft = Draft("runs")
    for run in (RUN, DELETED_RUN, MISSING_RUN, "r" * 36):
        draft.send(draft.span("root", trace=run), draft.span("child", "root", trace=run), run=run)
        draft.send(draft.span("child", "root", trace=f"{run}, no root"), run=run)
    draft.send(draft.span("root", trace="too long"), run="x" * 40)
    draft.send(draft.span("root", trace="several"), draft.span("other", trace="several"), run=RUN)
    return draft.done()


def _runs_again() -> Scenario:
    draft = Draft("the same trace, linked again")
    draft.send(draft.span("child", "root"), run=RUN)
    draft.send(draft.span("root"), run=RUN)
    draft.send(draft.span("root"), draft.span("root", trace="second"), run=RUN)
    draft.send(draft.span("root"), run=DELETED_RUN)
    draft.send(draft.span("root"), experiment=SECOND_EXPERIMENT)
    return draft.done()


def _run_of_100_traces() -> Scenario:
    draft = Draft("100 traces of a run in one request")
    draft.send(*(draft.span("root", trace=str(number)) for number in range(100)), run=RUN)
    return draft.done()


def _run_of_many_traces() -> Scenario:
    draft = Draft("101 traces of a run in one request")
    draft.send(*(draft.span("root", trace=str(number)) for number in range(101)), run=RUN)
    return draft.done()


def _deleted_experiment() -> Scenario:
    draft = Draft("a deleted experiment")
    draft.send(draft.span("root"), experiment=DELETED_EXPERIMENT)
    return draft.done()


def _begun(name: str) -> Scenario:
    """OTLP spans of a trace that `databases.seed` has begun as MLflow's client does."""
    draft = Draft(name)
    trace_id = SEEDED[name].trace_id
    attrs = genai("gpt-4o", "openai", 10, 1) | {"session.id": "of a span", "user.id": "of a span", "input.value": "of a span"}
    tags = {"mlflow.traceTag.team": "of a span", "mlflow.traceTag.mlflow.traceName": "of a span", "output.value": "of a span"}
    child = draft.span("child", "root", attrs, trace_id=trace_id, at=-5000, ms=20_000)
    error = Status(code=Status.STATUS_CODE_ERROR)
    draft.send(draft.span("plain", "root", trace_id=trace_id, at=100))
    draft.send(child, run=RUN)
    draft.send(draft.span("root", attrs=attrs | tags, trace_id=trace_id, at=-100_000, ms=200_000, status=error), run=RUN)
    draft.send(draft.span("early", "root", trace_id=trace_id, start_time_unix_nano=EPOCH - 3 * 86_400_000 * MS))
    return draft.done()
