"""The text of a span, without MLflow's store: the parts that are written by hand equal the parts that are not."""

import json
import math
from typing import Any

import pytest
from mlflow.entities.span import Span as MlflowSpan
from mlflow.tracing.otel.translation import sanitize_attributes
from mlflow.tracing.utils import dump_span_attribute_value
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp
from headrace.mlflow.json_text import LONG, JsonText, dumps, dumps_long, quote, quote_json
from headrace.mlflow.translate.content import dump_all, inner, inner_texts, open_content

VALUES = {
    "text": 'ü " \\ \n \u2028',
    "empty": "",
    "number": -(2**63),
    "true": True,
    "float": 0.1,
    "infinite": math.inf,
    "bytes": b"\x00\xff",
    "list": ["a", 1, [2.5]],
    "map": {"a": {"b": None}},
    "nothing": None,
}
SPANS = {
    "plain": otlp.span(),
    "a child": otlp.span(parent=b"p" * 8),
    "a parent of zeroes": otlp.span(parent=bytes(8)),
    "values": otlp.span(attrs=VALUES),
    "an error": otlp.span(status=Status(code=Status.STATUS_CODE_ERROR, message='no "way"')),
    "events": otlp.span(events=[Span.Event(name="e", time_unix_nano=otlp.START, attributes=otlp.attributes(VALUES))]),
    "links": otlp.span(links=[Span.Link(trace_id=b"l" * 16, span_id=b"k" * 8, attributes=otlp.attributes({"a": b"\x00"}))]),
}


def status_of(span: Span) -> str:
    return "STATUS_CODE_" + ("UNSET", "OK", "ERROR")[span.status.code]


@pytest.mark.parametrize("name", SPANS)
def test_the_text_is_the_json_of_mlflow_s_dict(name: str) -> None:
    span = SPANS[name]
    attributes: dict[str, Any] = {**dump_all(span)[0], "a list": ["ü", {"k": 0.5}], "json": JsonText.of('{"ü": "\\u2028"}', {})}
    theirs = MlflowSpan.from_otel_proto(span).to_dict() | {"attributes": attributes}
    assert open_content(span, attributes, status_of(span)) + "}" == json.dumps(theirs, default=str, ensure_ascii=False)


@pytest.mark.parametrize("key", VALUES)
def test_an_attribute_is_dumped_as_mlflow_does(key: str) -> None:
    dumped, _, _ = dump_all(otlp.span(attrs={key: VALUES[key]}))
    assert dumped == {key: dump_span_attribute_value(VALUES[key])}


def test_of_a_key_that_comes_twice_the_last_value_stands_and_the_span_is_not_exact() -> None:
    span = otlp.span()
    span.attributes.extend([*otlp.attributes({"k": "{}"}), *otlp.attributes({"k": 2})])
    dumped, maybe_json, exact = dump_all(span)
    assert (dumped, maybe_json, exact) == ({"k": "2"}, {}, False)


@pytest.mark.parametrize(
    ("text", "loses"),
    [
        ('{"a": 1}', True),
        ("[1]", True),
        ('"quoted"', True),
        (' {"a": 1}', True),
        ("{no", False),
        ("12", False),
        ("[" * 5000, False),
    ],
)
def test_json_within_a_text_loses_its_outer_layer(text: str, loses: bool) -> None:
    dumped = json.dumps(text)
    assert inner(text, dumped) == (text if loses else dumped)
    if loses:
        assert sanitize_attributes({"k": dumped}) == {"k": text}


@pytest.mark.parametrize("key", ["gen_ai.tool.definitions", "gen_ai.system_instructions", "any.other"])
@pytest.mark.parametrize("length", [1, LONG, 20_000])
@pytest.mark.parametrize("text", ['[{"text": "%s\\"\\\\"}]', "[%s", '"%s"'])
def test_what_comes_with_each_call_is_read_as_what_comes_once(key: str, length: int, text: str) -> None:
    for letter in "aab":
        sent = text % (letter * length)
        dumped = dump_all(otlp.span(attrs={key: sent}))
        found = inner_texts(dumped)[key]
        assert dumped[0] == {key: json.dumps(sent)}
        assert found == inner(sent, json.dumps(sent))
        assert not isinstance(found, JsonText) or (found.quoted, found.value) == (json.dumps(sent), json.loads(sent))


def test_keys_of_texts_that_may_be_json_are_noted() -> None:
    _, maybe_json, exact = dump_all(otlp.span(attrs={"a": "{", "b": "b", "c": " x", "d": ["{"]}))
    assert maybe_json == {"a": "{", "c": " x"}
    assert exact


@pytest.mark.parametrize(
    "character", [*map(chr, range(32)), '"', "\\", "/", "\x7f", "ü", "\u2028", "中", "😀", "\ud800"], ids=ascii
)
@pytest.mark.parametrize("length", [1, LONG - 1, LONG, 4 * LONG])
def test_a_text_of_any_length_is_quoted_as_by_json(character: str, length: int) -> None:
    for text in (character * length, "a" * (length - 1) + character, f'{character}{"b" * (length - 1)}\\"\n\t\r'):
        expected = json.dumps(text, ensure_ascii=False)
        assert quote(text) == dumps(text) == dumps_long(text) == expected
        assert quote_json(expected) == json.dumps(expected, ensure_ascii=False)
        assert dump_all(otlp.span(attrs={"k": text.encode("utf-8", "replace").decode()}))[0] == {
            "k": expected.encode("utf-8", "replace").decode()
        }


@pytest.mark.parametrize(
    "value",
    [
        *VALUES.values(),
        {"a": ["x" * LONG, {"b": b"\x00"}], "c": (1, None)},
        math.nan,
        {1: 2, None: True},
        JsonText.of("[]", []),
    ],
)
def test_a_value_is_dumped_as_by_json(value: Any) -> None:
    assert dumps(value) == dumps_long(value) == json.dumps(value, default=str, ensure_ascii=False)
