"""Flattened attributes and lists of events become messages in one form."""

from typing import Any

import pytest

from headrace.mlflow.translate.dialects.messages import as_inputs, as_outputs, from_events, from_flattened, is_chat

CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


def test_openinference_s_messages_keep_their_numeric_order() -> None:
    pairs = {f"{number}.message.role": "user" for number in range(12)} | {f"{n}.message.content": str(n) for n in range(12)}
    assert [message["content"] for message in from_flattened(sorted(pairs.items()))] == [str(number) for number in range(12)]


@pytest.mark.parametrize(
    "flat",
    [
        {
            "0.message.role": "assistant",
            "0.message.tool_calls.0.tool_call.id": "c1",
            "0.message.tool_calls.0.tool_call.function.name": "get_weather",
            "0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Paris"}',
        },
        {
            "0.role": "assistant",
            "0.tool_calls.0.id": "c1",
            "0.tool_calls.0.name": "get_weather",
            "0.tool_calls.0.arguments": {"city": "Paris"},
        },
    ],
    ids=["openinference", "traceloop"],
)
def test_a_tool_call_is_openai_s(flat: dict[str, Any]) -> None:
    assert from_flattened(flat.items()) == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]


def test_parts_of_a_message_and_its_image() -> None:
    flat = {
        "0.message.role": "user",
        "0.message.contents.0.message_content.type": "text",
        "0.message.contents.0.message_content.text": "What is this?",
        "0.message.contents.1.message_content.type": "image",
        "0.message.contents.1.message_content.image.image.url": "data:image/png;base64,AAAA",
    }
    (message,) = from_flattened(flat.items())
    assert message["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]


def test_what_says_nothing_is_left_out_and_odd_keys_break_nothing() -> None:
    odd = {"0.message.role": "user", "x.y": 1, "1": "text", "2.message": 5, f"3.{'a.' * 5000}b": 1, "": 0, "²": 1, "9" * 40: {}}
    assert from_flattened(odd.items()) == []


def test_events_are_what_was_sent_and_what_was_answered() -> None:
    events = [
        {"event.name": "gen_ai.system.message", "content": "Be brief."},
        {"event.name": "gen_ai.user.message", "content": "Paris?", "role": "user"},
        {"event.name": "gen_ai.tool.message", "content": "sunny", "id": "c1", "role": "tool", "name": "get_weather"},
        {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "Sunny."}},
        "no event",
    ]
    sent, answered = from_events(events)
    assert [message["role"] for message in sent] == ["system", "user", "tool"]
    assert sent[2] == {"role": "tool", "content": "sunny", "tool_call_id": "c1", "name": "get_weather"}
    assert answered == [{"role": "assistant", "content": "Sunny."}]
    assert from_events({"a": 1}) == ([], [])


def test_what_is_a_chat_already() -> None:
    messages = from_flattened({"0.role": "user", "0.content": "Hello"}.items())
    assert is_chat(as_inputs(messages))
    assert is_chat(as_outputs(messages))
    assert not is_chat({"messages": [[{"lc": 1, "kwargs": {"content": "Hello"}}]]})
    assert not is_chat({"messages": ["ChatMessage(role='user')"]})
    assert not is_chat({"messages": [{"role": "user", "parts": []}]})
    assert not is_chat({"messages": []})
    assert not is_chat("Hello")


def test_a_call_that_stands_among_the_parts_too_is_no_text() -> None:
    """Of OpenInference's instrumentation for Anthropic."""
    flat = {
        "0.message.role": "assistant",
        "0.message.tool_calls.0.tool_call.id": "c1",
        "0.message.tool_calls.0.tool_call.function.name": "get_weather",
        "0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Paris"}',
        "0.message.contents.0.message_content.type": "tool_use",
        "0.message.contents.0.tool_call.function.name": "get_weather",
    }
    assert from_flattened(flat.items()) == [{"role": "assistant", "content": None, "tool_calls": [CALL]}]


def test_the_only_call_of_an_answer_that_does_not_say_whose_it_is() -> None:
    """Of LiteLLM's callback."""
    flat = {"0.function_call.name": "get_weather", "0.function_call.arguments": '{"city": "Paris"}'}
    (message,) = from_flattened(flat.items(), "assistant")
    assert message["role"] == "assistant"
    assert [call["function"] for call in message["tool_calls"]] == [CALL["function"]]
