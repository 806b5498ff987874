"""Scenarios of OTLP itself: every pair of an attribute's type, a kind, a status, events, links, a resource, a scope, a
parent, times and a name. (The OpenTelemetry Collector's golden data set is made the same way.)"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from otlp import attributes
from parity.scenario import EPOCH, MS, Draft, Scenario, of

UNICODE = "Grüße, 世界 🌍 \u202eעברית\u202c e\u0301 \u2028 \ufeff"
ESCAPES = 'a "quote", a \\ backslash, a /slash, \b\f\n\r\t \x01 \x1f \x7f \x85 </script>'
JSON_TEXTS = [
    '{"a": 1}',
    "[1, 2]",
    '"quoted"',
    '"{\\"twice\\": 2}"',
    "1",
    "-0",
    "1e5",
    "true",
    "null",
    "NaN",
    '""',
    "{}",
    " [1] ",
]
BEYOND_INT64 = "123456789012345678901234567890"


def _nested(depth: int) -> Any:
    return {"deeper": _nested(depth - 1), "list": [depth, {"of": "maps"}]} if depth else "bottom"


ATTRIBUTES: dict[str, Sequence[KeyValue]] = {
    "none": [],
    "strings": attributes({"http.method": "GET", "empty": "", "blank": " ", "number": "12", "long": "x" * 3000}),
    "escapes": attributes({"escapes": ESCAPES, "nul": "a\x00b", "path": "C:\\temp\\u0041"}),
    "unicode": attributes({"text": UNICODE, "schlüssel 🔑": "ключ", "astral": "𝔘𝔫𝔦", "list": [UNICODE, {UNICODE: UNICODE}]}),
    "json texts": attributes({f"json.{i}": text for i, text in enumerate([*JSON_TEXTS, BEYOND_INT64])}),
    "bools": attributes({"yes": True, "no": False, "both": [True, False]}),
    "ints": attributes({"zero": 0, "minus": -1, "min": -(2**63), "max": 2**63 - 1, "beyond.double": 2**53 + 1}),
    "doubles": attributes({"tenth": 0.1, "whole": 1.0, "-0": -0.0, "big": 1e300, "tiny": 5e-324, "e16": 1e16, "third": 1 / 3}),
    "odd doubles": attributes({"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "list": [math.nan, math.inf]}),
    "bytes": attributes({"none": b"", "text": b"abc", "raw": bytes(range(256)), "list": [b"\xff"], "map": {"k": b"\x00"}}),
    "kvlists": attributes({"map": {"s": "x", "i": 1, "d": 2.5, "b": True, "none": None, "m": {"": 1}}, "deep": _nested(20)}),
    "arrays": attributes({"mixed": ["x", 1, 2.5, True, None, b"y", ["z"], {"k": "v"}], "strings": ["a", "b"], "ints": [1, 2]}),
    "empties": attributes({"array": [], "map": {}, "string": "", "bytes": b"", "arrays": [[], [[]], {}]}),
    "unset": [KeyValue(key="no value"), KeyValue(key="unset", value=AnyValue()), *attributes({"list": [None, None]})],
    "duplicates": [*attributes({"twice": "first", "other": 1}), *attributes({"twice": "second"}), *attributes({"other": {}})],
    "odd keys": attributes({"": "empty", " ": "blank", "k" * 1000: "long", "a.b.c": 1, "a/b:c|d": 2, "__proto__": 3, "0": 4}),
    "many": attributes({f"attribute.{i}": i if i % 3 else f"value {i}" for i in range(200)}),
}
STATUSES = {
    "no status": None,
    "unset": Status(),
    "unset, message": Status(message="not an error"),
    "ok": Status(code=Status.STATUS_CODE_OK),
    "ok, message": Status(code=Status.STATUS_CODE_OK, message="fine"),
    "error": Status(code=Status.STATUS_CODE_ERROR),
    "error, message": Status(code=Status.STATUS_CODE_ERROR, message=f"boom: {UNICODE}{ESCAPES}"),
}


def _event(name: str, at: int, attrs: Sequence[KeyValue] = ()) -> Span.Event:
    return Span.Event(name=name, time_unix_nano=at, attributes=attrs)


EXCEPTION = attributes({"exception.type": "ValueError", "exception.message": UNICODE, "exception.stacktrace": "at a\n at b"})
EVENTS: dict[str, Callable[[Sequence[KeyValue]], list[Span.Event]]] = {
    "no events": lambda attrs: [],
    "one event": lambda attrs: [_event("exception", EPOCH + 5 * MS, EXCEPTION)],
    "event with these attributes": lambda attrs: [_event("first", EPOCH + 1, attrs), _event("second", EPOCH + 2, attrs)],
    "nameless timeless event": lambda attrs: [_event("", 0), _event("", 2**63 - 1), _event(UNICODE, 1)],
    "many events": lambda attrs: [_event(f"event {i}", EPOCH + i, attributes({"i": i})) for i in range(150)],
}


def _link(draft: Draft, label: str, attrs: Sequence[KeyValue] = (), **fields: Any) -> Span.Link:
    return Span.Link(trace_id=draft.trace_id("linked"), span_id=draft.span_id(label), attributes=attrs, **fields)


LINKS: dict[str, Callable[[Draft, Sequence[KeyValue]], list[Span.Link]]] = {
    "no links": lambda draft, attrs: [],
    "one link": lambda draft, attrs: [_link(draft, "far", trace_state="vendor=1", flags=1, dropped_attributes_count=2)],
    "link to itself": lambda draft, attrs: [Span.Link(trace_id=draft.trace_id(), span_id=draft.span_id("subject"))],
    "link with these attributes": lambda draft, attrs: [_link(draft, "far", attrs), _link(draft, "other", attrs)],
    "many links": lambda draft, attrs: [_link(draft, str(i), attributes({"i": i})) for i in range(40)],
    "link without ids": lambda draft, attrs: [Span.Link()],
}
TYPICAL = {
    "service.name": "checkout",
    "service.version": "1.2.3",
    "deployment.environment.name": "production",
    "host.name": "web-1",
    "process.pid": 4711,
}
RESOURCES: dict[str, Sequence[KeyValue] | None] = {
    "no resource": None,
    "empty resource": [],
    "typical resource": attributes(TYPICAL),
    "reserved keys": attributes(
        TYPICAL
        | {"telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "go", "mlflow.trace.spansLocation": "nowhere"}
        | {"mlflow.traceName": "not this", "mlflow.artifactLocation": "nowhere", "telemetry.auto.version": "1"}
    ),
    "odd tags": attributes(
        {"k" * 250: "just", "l" * 251: "too long", "value": "v" * 8000, "longer": "w" * 8001, "schlüssel": UNICODE, "a b": "c"}
        | {
            "a:b": 1,
            "a|b": 2,
            "a/../b": 3,
            "/a": 4,
            "a/b": 5,
            ".": 6,
            "..": 7,
            "": 8,
            "new\nline": 9,
            "\t": 10,
            "escapes": ESCAPES,
        }
    ),
    "values that are no strings": attributes(
        {"int": 2**63 - 1, "bool": True, "double": 0.1, "nan": math.nan, "list": ["a", 1, None], "map": {"k": [UNICODE]}}
        | {"none": None, "empty": "", "empty list": [], "long list": list(range(3000)), "service.name": 7}
    ),
    "the same key twice": [*attributes({"service.name": "one", "region": "eu"}), *attributes({"service.name": "two"})],
}
SCOPES = {
    "no scope": None,
    "named scope": InstrumentationScope(name="io.opentelemetry.http", version="2.0.1"),
    "scope with attributes": InstrumentationScope(name="", version="", attributes=attributes({"short": "x"})),
}
PARENTS = ["root", "child", "child of a span that never comes", "zero parent id"]
TIMES = {
    "normal": (EPOCH, EPOCH + 250 * MS),
    "no end": (EPOCH, 0),
    "end before start": (EPOCH, EPOCH - 3 * MS),
    "no start": (0, EPOCH),
    "no times": (0, 0),
    "equal": (EPOCH, EPOCH),
    "below a millisecond": (EPOCH, EPOCH + 1),
    "across a millisecond": (EPOCH - EPOCH % MS - 1, EPOCH - EPOCH % MS),
    "as late as can be": (2**63 - 2, 2**63 - 1),
}
NAMES = {
    "plain name": "GET /cart",
    "no name": "",
    "unicode name": UNICODE,
    "escapes in the name": ESCAPES,
    "very long name": "very long name 🌍 " * 300,
}
DIMENSIONS: dict[str, list[str]] = {
    "attributes": list(ATTRIBUTES),
    "kind": [str(kind) for kind in range(6)],
    "status": list(STATUSES),
    "events": list(EVENTS),
    "links": list(LINKS),
    "resource": list(RESOURCES),
    "scope": list(SCOPES),
    "parent": PARENTS,
    "times": list(TIMES),
    "name": list(NAMES),
}


def pairwise(dimensions: dict[str, list[str]]) -> list[dict[str, str]]:
    """Rows in which each two values of any two dimensions meet at least once; greedy, and the same rows every time."""
    missing = {((a, x), (b, y)) for a, b in itertools.combinations(dimensions, 2) for x in dimensions[a] for y in dimensions[b]}
    rows = []
    while missing:
        row = dict(min(missing))
        for name, values in dimensions.items():
            if name not in row:
                row[name] = max(values, key=lambda value: len(_pairs(row | {name: value}, dimensions) & missing))
        missing -= _pairs(row, dimensions)
        rows.append(row)
    return rows


def _pairs(row: dict[str, str], dimensions: dict[str, list[str]]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    chosen = [(name, row[name]) for name in dimensions if name in row]
    return set(itertools.combinations(chosen, 2))


def shapes() -> Iterator[Scenario]:
    """All of them."""
    for number, row in enumerate(pairwise(DIMENSIONS)):
        yield _pair(f"pair-{number:03d}", row)
    yield from (_values(), _long_values(), _fields(), _ids(), _resources(), _deep_tree())


def _pair(name: str, row: dict[str, str]) -> Scenario:
    draft = Draft(name)
    attrs = ATTRIBUTES[row["attributes"]]
    start, end = TIMES[row["times"]]
    parents = {"child": draft.span_id("root"), "child of a span that never comes": draft.span_id("absent")}
    subject = draft.span(
        "subject",
        attrs=attrs,
        parent_span_id=bytes(8) if row["parent"] == "zero parent id" else parents.get(row["parent"], b""),
        name=NAMES[row["name"]],
        kind=int(row["kind"]),
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        status=STATUSES[row["status"]],
        events=EVENTS[row["events"]](attrs),
        links=LINKS[row["links"]](draft, attrs),
        trace_state="vendor=state",
    )
    spans = [subject, draft.span("below", "subject", at=10, ms=20)]
    if row["parent"] == "child":
        spans.append(draft.span("root", ms=500))
    draft.send(of(RESOURCES[row["resource"]], *spans, scope=SCOPES[row["scope"]]))
    return draft.done()


def _values() -> Scenario:
    """Each attribute of each type by itself, each on a trace of its own."""
    draft = Draft("each attribute alone")
    for group, attrs in ATTRIBUTES.items():
        if attrs:
            draft.send(*(draft.span(str(i), attrs=[pair], trace=f"{group} {i}") for i, pair in enumerate(attrs[:20])))
    return draft.done()


def _long_values() -> Scenario:
    draft = Draft("values of 100 KB")
    long = {"ascii": "x" * 100_000, "unicode": "ü🌍" * 25_000, "escapes": '"\\\n' * 33_000, "list": ["word"] * 20_000}
    draft.send(draft.span("root", attrs=long), draft.span("inputs", "root", {"input.value": "y" * 100_000}))
    draft.send(
        draft.span("root", attrs={"mlflow.spanInputs": "z" * 100_000, "mlflow.spanOutputs": "ü" * 100_000}, trace="previews")
    )
    return draft.done()


def _fields() -> Scenario:
    """Fields that MLflow does not keep, and enum values that the specification does not know."""
    draft = Draft("other fields")
    counts: Any = {"dropped_attributes_count": 1, "dropped_events_count": 2, "dropped_links_count": 3, "flags": 0x301}
    draft.send(
        draft.span("root", trace_state="a=1,b=2", **counts), draft.span("odd", "root", kind=99, status=STATUSES["error"])
    )
    unknown = Status.FromString(b"\x18\x4d")  # code 77: enums are open in proto3
    draft.send(draft.span("beyond", "root", kind=6, status=unknown))
    return draft.done()


def _ids() -> Scenario:
    """Ids that begin or end with zero bytes, and ids of all ones: MLflow passes them through integers."""
    draft = Draft("odd ids")
    middle = draft.trace_id()[1:15]
    for number, trace_id in enumerate((bytes([0]) + middle + bytes([0]), bytes([255]) + middle + bytes([255]))):
        span_id = (bytes(7) + b"\x01", b"\xff" * 8)[number]
        root = draft.span("root", trace_id=trace_id, span_id=span_id)
        link = Span.Link(trace_id=trace_id, span_id=span_id)
        child = draft.span("child", trace_id=trace_id, span_id=b"\x00\x01" + bytes(6), parent_span_id=span_id, links=[link])
        draft.send(root, child)
    return draft.done()


def _resources() -> Scenario:
    """Requests of several resources and scopes: the tags are those of the first span whose resource has attributes."""
    draft = Draft("several resources")
    named: dict[str, Sequence[KeyValue]] = {"": [], "a": attributes({"service.name": "a", "only.a": 1})}
    named |= {"b": attributes({"service.name": "b", "only.b": 2})}

    def part(resource: str, *labels: str, scope: str = "") -> ResourceSpans:
        spans = [draft.span(label, "" if label == "root" else "root") for label in labels]
        return of(named[resource], *spans, scope=InstrumentationScope(name=scope))

    draft.send(part("", "leaf"), part("a", "middle", scope="x"), part("a", "other", scope="y"), part("b", "root"))
    draft.send(part("b", "late"))
    draft.send(part("", "later"))
    draft.send(of(named["a"]), of(None), part("a", "last"))
    two_traces = [draft.span(label, trace=label[0]) for label in ("1 root", "2 root", "1 second", "2 second")]
    draft.send(of(named["b"], two_traces[0], two_traces[1]), of(named["a"], two_traces[3], two_traces[2]))
    several = part("a", "s1", scope="one")
    several.scope_spans.extend(part("a", "s2", "s3", scope="two").scope_spans)
    draft.send(several)
    return draft.done()


def _deep_tree() -> Scenario:
    """A chain deeper than Python's recursion limit, with usage at both of its ends."""
    draft = Draft("chain of 1200 spans")
    usage = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4}
    attrs: dict[int, dict[str, Any]] = {0: {"gen_ai.operation.name": "invoke_agent"}, 600: usage, 1199: usage}
    spans = [draft.span(str(i), str(i - 1) if i else "", attrs.get(i, {}), at=i, ms=1) for i in range(1200)]
    draft.send(*spans[700:])
    draft.send(*spans[:700])
    return draft.done()
