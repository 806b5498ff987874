"""What instrumentations put into events, as they really send it, becomes a span's own messages."""

import json
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.mlflow.translate.completed import completion_of_events
from headrace.mlflow.translate.content import dump_all
from headrace.mlflow.translate.genai_events import INPUT, OUTPUT, Event, attributes_told

_TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
_CALLED = {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"city": "Paris"}}


def text(role: str, said: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": said}], **more}


def told(*events: Event, operation: str = "chat") -> dict[str, Any]:
    return attributes_told(events, operation)


def test_of_openai_v2_with_bodies() -> None:
    assert told(
        Event(
            "gen_ai.choice", 5, {}, {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Sunny"}}
        ),
        Event("gen_ai.tool.message", 4, {}, {"content": "sunny, 21", "id": "c1"}),
        Event("gen_ai.assistant.message", 3, {}, {"tool_calls": [_TOOL_CALL]}),
        Event("gen_ai.user.message", 2, {}, {"content": "Weather?"}),
        Event("gen_ai.system.message", 1, {}, {"content": "Be brief."}),
    ) == {
        INPUT: [
            text("system", "Be brief."),
            text("user", "Weather?"),
            {"role": "assistant", "parts": [_CALLED]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny, 21"}]},
        ],
        OUTPUT: [text("assistant", "Sunny", finish_reason="stop")],
    }


def test_of_traceloop_whose_choice_has_its_calls_beside_the_message() -> None:
    body = {"index": 0, "message": {"content": None}, "finish_reason": "tool_calls", "tool_calls": [_TOOL_CALL]}
    assert told(Event("gen_ai.choice", 1, {}, body)) == {
        OUTPUT: [{"role": "assistant", "parts": [_CALLED], "finish_reason": "tool_calls"}]
    }


def test_of_semantic_kernel_with_json_in_the_body_ordered_by_an_index() -> None:
    def message(index: int, role: str, said: str) -> Event:
        body = json.dumps({"role": role, "content": said})
        return Event(f"gen_ai.{role}.message", 9 - index, {"CHAT_MESSAGE_INDEX": index, "gen_ai.system": "openai"}, body)

    choice = {"message": {"role": "assistant", "content": "Sunny"}, "index": 0, "finish_reason": "stop"}
    assert told(
        message(2, "user", "And in Rome?"),
        message(0, "user", "Weather?"),
        message(1, "assistant", "Where?"),
        Event("gen_ai.choice", 10, {}, json.dumps(choice)),
    ) == {
        INPUT: [text("user", "Weather?"), text("assistant", "Where?"), text("user", "And in Rome?")],
        OUTPUT: [text("assistant", "Sunny", finish_reason="stop")],
    }


def test_choices_are_ordered_by_their_index() -> None:
    choices = [
        Event("gen_ai.choice", 5 - index, {}, {"index": index, "message": {"content": str(index)}}) for index in (2, 0, 1)
    ]
    assert [message["parts"][0]["content"] for message in told(*choices)[OUTPUT]] == ["0", "1", "2"]


def test_of_strands_with_parts_as_json_texts() -> None:
    called = json.dumps([{"toolUse": {"toolUseId": "c1", "name": "get_weather", "input": {"city": "Paris"}}}])
    result = json.dumps([{"toolResult": {"toolUseId": "c1", "status": "success", "content": [{"text": "sunny, 21"}]}}])
    assert told(
        Event("gen_ai.user.message", 1, {"content": '[{"text": "Weather?"}]'}),
        Event("gen_ai.assistant.message", 2, {"content": called}),
        Event("gen_ai.tool.message", 3, {"content": result}),
        Event("gen_ai.choice", 4, {"message": "Sunny.\n", "finish_reason": "end_turn"}),
    ) == {
        INPUT: [
            text("user", "Weather?"),
            {"role": "assistant", "parts": [_CALLED]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny, 21"}]},
        ],
        OUTPUT: [text("assistant", "Sunny.\n", finish_reason="end_turn")],
    }


def test_of_a_tool_s_span_its_arguments_and_its_result() -> None:
    assert told(
        Event("gen_ai.tool.message", 1, {"role": "tool", "content": '{"city": "Paris"}', "id": "c1"}),
        Event("gen_ai.choice", 2, {"message": '[{"text": "sunny, 21"}]', "id": "c1"}),
        operation="execute_tool",
    ) == {"gen_ai.tool.call.arguments": {"city": "Paris"}, "gen_ai.tool.call.result": "sunny, 21"}


@pytest.mark.parametrize("dump", [lambda value: value, json.dumps])
def test_the_details_event_is_taken_as_it_is_whole_or_split(dump: Any) -> None:
    details = "gen_ai.client.inference.operation.details"
    system = [{"type": "text", "content": "Be brief."}]
    tools = [{"type": "function", "name": "get_weather"}]
    asked, answered = [text("user", "Weather?")], [text("assistant", "Sunny", finish_reason="stop")]
    assert told(
        Event(details, 1, {"gen_ai.input.messages": dump(asked), "gen_ai.system_instructions": dump(system)}),
        Event(details, 2, {"gen_ai.output.messages": dump(answered), "gen_ai.tool.definitions": dump(tools)}),
    ) == {INPUT: asked, OUTPUT: answered, "gen_ai.system_instructions": system, "gen_ai.tool.definitions": tools}


def test_a_body_in_an_attribute_of_a_span_s_event() -> None:
    assert told(
        Event("gen_ai.user.message", 1, {"gen_ai.event.content": '{"role": "user", "content": "Weather?"}'}),
        Event("gen_ai.choice", 2, {"gen_ai.event.content": '{"message": {"role": "assistant", "content": "Sunny"}}'}),
    ) == {INPUT: [text("user", "Weather?")], OUTPUT: [text("assistant", "Sunny")]}


@pytest.mark.parametrize("said", ['{"a": 1}', "[1, 2]", '["x"]', "[unclosed", "[]", '[{"a": 1}]'])
def test_a_text_that_looks_like_json_stays_what_was_said(said: str) -> None:
    assert told(Event("gen_ai.user.message", 1, {"content": said})) == {INPUT: [text("user", said)]}
    assert told(Event("gen_ai.user.message", 1, {}, said)) == {INPUT: [text("user", said)]}


@pytest.mark.parametrize(
    "content", [[{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]]
)
def test_parts_of_openai(content: Any) -> None:
    assert told(Event("gen_ai.user.message", 1, {}, {"content": content})) == {
        INPUT: [
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "Look:"},
                    {"type": "uri", "modality": "image", "uri": "https://x/y.png"},
                ],
            }
        ]
    }


@pytest.mark.parametrize(
    "body", [None, "", {}, [], {"content": None}, {"tool_calls": "no"}, 7, True, {"message": 7}, {"index": "x"}]
)
@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.choice", "gen_ai.tool.message", "other"])
def test_nothing_said_is_nothing_told_and_nothing_breaks(name: str, body: Any) -> None:
    attributes_told([Event(name, 0, {}, body)], "chat")


def test_other_events_say_nothing() -> None:
    assert told(Event("exception", 1, {"content": "x"}), Event("gen_ai.evaluation.result", 1, {})) == {}


USER, CHOICE = ("gen_ai.user.message", {"content": "weather?"}), ("gen_ai.choice", {"content": "sunny"})
SYSTEM = ("gen_ai.system.message", {"content": "be brief"})
TOOL = ("gen_ai.tool.message", {"content": "21", "id": "c1"})
AS_AN_OBJECT = ("gen_ai.choice", {"message": "sunny"})


@pytest.mark.parametrize(
    "attributes", [{}, {"http.route": "/x"}, {"openinference.span.kind": "LLM"}, {"gen_ai.operation.name": "chat"}]
)
@pytest.mark.parametrize(
    ("events", "beyond"),
    [
        ([USER, CHOICE], set()),
        ([SYSTEM, USER, CHOICE], set()),
        ([USER, AS_AN_OBJECT], {OUTPUT}),  # MLflow does not know such an answer
        ([USER, TOOL, CHOICE], {INPUT}),  # it leaves out what the tool said
        ([("gen_ai.user.message", {"gen_ai.event.content": '{"role": "user", "content": "weather?"}'})], {INPUT}),
        ([("other", {"content": "x"})], set()),
    ],
)  # fmt: skip
def test_mlflow_s_own_reading_of_a_span_s_events_stands_where_it_has_all(
    attributes: dict[str, Any], events: list[tuple[str, dict[str, Any]]], beyond: set[str]
) -> None:
    made = [Span.Event(name=name, time_unix_nano=n, attributes=otlp.attributes(said)) for n, (name, said) in enumerate(events)]
    span = otlp.span(attrs=attributes, events=made)
    sent, *_ = dump_all(span)
    assert completion_of_events(span, sent).attributes.keys() == beyond


@pytest.mark.parametrize("operation", ["chat", "execute_tool"])
@pytest.mark.parametrize("part", ["hi", None, 7, True, 0.5, ["hi"], b"\xff", {"type": "text", "content": "hi"}, {"text": "hi"}])
def test_parts_may_be_anything(part: Any, operation: str) -> None:
    """A text is a text part; what is no part becomes its JSON."""
    found = told(Event("gen_ai.user.message", 1, {}, {"parts": [part]}), operation=operation)
    assert len(found) == 1
    if operation == "chat":
        (shown,) = found[INPUT][0]["parts"]
        assert shown == part if isinstance(part, dict) else shown["type"] == "text" and isinstance(shown["content"], str)


_DETAILS = "gen_ai.client.inference.operation.details"


@pytest.mark.parametrize("dumped", [False, True])
def test_details_may_stand_in_the_body(dumped: bool) -> None:
    messages = [text("user", "Weather?")]
    body = {INPUT: messages, "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}], "other": 1}
    found = told(Event(_DETAILS, 1, {OUTPUT: [text("assistant", "Sunny")]}, json.dumps(body) if dumped else body))
    assert (found[INPUT], found[OUTPUT]) == (messages, [text("assistant", "Sunny")])
    assert found["gen_ai.system_instructions"] == body["gen_ai.system_instructions"]
