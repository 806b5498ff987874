"""The chat in the inputs and outputs of each library, in OpenAI's form: roles, texts, calls, results, reasoning, media."""

import json
from typing import Any

import pytest
from thinned import EACH

from headrace.mlflow.translate.chat.drawn import is_drawn
from headrace.mlflow.translate.chat.preview import words_of
from headrace.mlflow.translate.chat.shapes import chat_of

PNG = "iVBORw0KGgoAAAANSUhEUg=="
HUMAN = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "schema", "messages", "HumanMessage"],
    "kwargs": {"content": "Hi?"},
}
AI = {"lc": 1, "type": "constructor", "id": ["langchain_core", "messages", "AIMessageChunk"],
      "kwargs": {"content": "Hello.", "tool_calls": []}}  # fmt: skip
CALLING = {"content": "", "type": "ai", "tool_calls": [{"name": "get", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]}

CALL = ("assistant", None, 'get({"a": 1})')
RESULT = ("tool", "c1", "found")
CHATS: dict[str, tuple[str, Any, list[tuple[str, Any, str]]]] = {
    "openai, chat": (
        "user",
        {"model": "m", "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi?"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "found"}]},
            {"role": "assistant", "content": None, "function_call": {"name": "get", "arguments": '{"a": 1}'}}]},
        [("system", None, "Be brief."), ("user", None, "Hi?"), CALL, RESULT, CALL],
    ),
    "genkit": (
        "user",
        {"messages": [
            {"role": "system", "content": [{"text": "Be brief."}]},
            {"role": "user", "content": [{"text": "Hi?"}]},
            {"role": "model", "content": [
                {"reasoning": "Hm."}, {"toolRequest": {"name": "get", "ref": "c1", "input": {"a": 1}}}]},
            {"role": "tool", "content": [{"toolResponse": {"name": "get", "ref": "c1", "output": "found"}}]}],
         "config": {}, "tools": []},
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "genkit, an answer": (
        "assistant",
        {"finishReason": "stop", "message": {"role": "model", "content": [{"text": "Hello."}]}},
        [("assistant", None, "Hello.")],
    ),
    "openai, choices": (
        "assistant",
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "One."}}, {"message": {"content": "Two."}}]},
        [("assistant", None, "One."), ("assistant", None, "Two.")],
    ),
    "openai, completions": ("assistant", {"choices": [{"text": "One."}]}, [("assistant", None, "One.")]),
    "openai, responses": (
        "user",
        {"instructions": "Be brief.", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi?"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {"type": "function_call", "call_id": "c1", "name": "get", "arguments": '{"a": 1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "found"}]},
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "openai, responses, a text": (
        "user", {"instructions": "Be brief.", "input": "Hi?"}, [("system", None, "Be brief."), ("user", None, "Hi?")]
    ),
    "openai, an answer of responses": (
        "assistant",
        {"id": "resp", "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello.",
            "annotations": []}]}]},
        [("assistant", None, "Hello.")],
    ),
    "genai parts": (
        "user",
        [
            {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Hi?"}], "name": None},
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."},
                                            {"type": "tool_call", "id": "c1", "name": "get", "arguments": {"a": 1}}]},
            {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "result": "found"}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "found"},
                                       {"type": "tool_call_response", "id": "c1", "response": {"a": [1]}}]},
            {"role": "assistant", "parts": []},
        ],
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT, RESULT,
         ("tool", "c1", '{"a": [1]}')],
    ),
    "anthropic": (
        "user",
        {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}], "messages": [
            {"role": "user", "content": "Hi?"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"},
                                              {"type": "tool_use", "id": "c1", "name": "get", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [
                {"type": "text", "text": "found"}]}, {"type": "text", "text": "And?"}]}]},
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant",
        "Hm.", 'get({"a": 1})'), RESULT, ("user", None, "And?")],
    ),
    "anthropic, an answer": (
        "assistant",
        {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "x"},
        [("assistant", None, "Hello.")],
    ),
    "bedrock": (
        "user",
        {"modelId": "m", "system": [{"text": "Be brief."}], "messages": [
            {"role": "user", "content": [{"text": "Hi?"}, {"cachePoint": {"type": "default"}}]},
            {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
                                              {"toolUse": {"toolUseId": "c1", "name": "get", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "found"}]}}]}]},
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "bedrock, an answer": (
        "assistant", {"output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}}, "stopReason": "end_turn"},
        [("assistant", None, "Hello.")],
    ),
    "gemini": (
        "user",
        {"model": "m", "config": {"system_instruction": "Be brief."}, "contents": [
            {"role": "user", "parts": [{"text": "Hi?"}]},
            {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"functionCall": {"name": "get", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "get", "response": "found"}}]}]},
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "gemini, an answer": (
        "assistant", {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}]},
        [("assistant", None, "Hello.")],
    ),
    "langchain, constructors in a batch": ("user", {"messages": [[HUMAN, AI]]}, [("user", None, "Hi?"),
    ("assistant", None, "Hello.")]),
    "langchain, generations": (
        "assistant", {"generations": [[{"text": "", "message": {"lc": 1, "id": ["AIMessage"], "kwargs": CALLING}}]]}, [CALL]
    ),
    "langchain, data": (
        "user",
        {"messages": [{"type": "human", "data": {"content": "Hi?"}}, {"type": "ai", "data": CALLING},
                      {"type": "tool", "data": {"content": "found", "tool_call_id": "c1", "id": "x"}}]},
        [("user", None, "Hi?"), CALL, RESULT],
    ),
    "langchain, dumped": ("user", [{"type": "human", "content": "Hi?", "id": None}, CALLING], [("user", None, "Hi?"), CALL]),
    "langgraph, updates": (
        "assistant", [{"graph": None, "update": {"messages": [{"type": "ai", "data": {"content": "Hello."}}]}}],
        [("assistant", None, "Hello.")],
    ),
    "langchain, outputs": ("assistant", {"outputs": {"messages": [HUMAN, AI]}}, [("user", None, "Hi?"),
    ("assistant", None, "Hello.")]),
    "vercel": (
        "user",
        [
            {"role": "user", "content": [{"type": "text", "text": "Hi?"}]},
            {"role": "assistant", "content": [{"type": "reasoning", "text": "Hm."},
                                              {"type": "tool-call", "toolCallId": "c1", "toolName": "get", "input": {"a": 1}}]},
            {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c1", "toolName": "get",
                                          "output": {"type": "text", "value": "found"}}]},
        ],
        [("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "vercel, an answer": (
        "assistant",
        {"finishReason": "tool-calls", "toolCalls": '[{"toolCallId": "c1", "toolName": "get", "input": "{\\"a\\": 1}"}]'},
        [CALL],
    ),
    "vercel, a prompt": (
        "user", {"system": "Be brief.", "prompt": "Hi?"}, [("system", None, "Be brief."), ("user", None, "Hi?")]
    ),
    "pydantic ai": (
        "user",
        [
            {"kind": "request", "parts": [{"part_kind": "system-prompt", "content": "Be brief."},
                                          {"part_kind": "user-prompt", "content": "Hi?"}]},
            {"kind": "response", "parts": [{"part_kind": "thinking", "content": "Hm."},
                                           {"part_kind": "tool-call", "tool_name": "get",
                                           "args": '{"a": 1}', "tool_call_id": "c1"}]},
            {"kind": "request", "parts": [{"part_kind": "tool-return", "tool_name": "get", "content": "found",
            "tool_call_id": "c1"}]},
        ],
        [("system", None, "Be brief."), ("user", None, "Hi?"), ("assistant", "Hm.", 'get({"a": 1})'), RESULT],
    ),
    "llamaindex": (
        "user", {"messages": [{"role": "user", "blocks": [{"block_type": "text", "text": "Hi?"}]}]}, [("user", None, "Hi?")]
    ),
    "haystack": (
        "assistant", {"replies": [{"role": "assistant", "content": [{"text": "Hello."}], "meta": {"model": "m"}}]},
        [("assistant", None, "Hello.")],
    ),
    "ollama": ("assistant", {"model": "m", "message": {"role": "assistant", "content": "Hello."}},
    [("assistant", None, "Hello.")]),
    "strands": ("user", [{"role": "user", "content": '[{"text": "Hi?"}]'}], [("user", None, "Hi?")]),
    "one message": ("assistant", {"role": "assistant", "content": "Hello."}, [("assistant", None, "Hello.")]),
    "deepseek": (
        "assistant", {"choices": [{"message": {"role": "assistant", "reasoning_content": "Hm.", "content": "Hello."}}]},
        [("assistant", "Hm.", "Hello.")],
    ),
}  # fmt: skip


def told(chat: list[dict[str, Any]]) -> list[tuple[str, Any, str]]:
    """Of each message its role, its reasoning or the call that it answers, and what it says."""
    found = []
    for message in chat:
        calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls", ())]
        assert all(call["id"] for call in message.get("tool_calls", ()))
        text = message["content"] if message["content"] is not None else ", ".join(calls)
        found.append((message["role"], message.get("reasoning") or message.get("tool_call_id"), text))
    return found


@pytest.mark.parametrize(("role", "value", "expected"), CHATS.values(), ids=CHATS)
def test_the_chat_of_each_library(role: str, value: Any, expected: list[tuple[str, Any, str]]) -> None:
    before = json.dumps(value)
    chat = chat_of(value, role)
    assert chat is not None
    assert told(chat) == expected
    assert is_drawn(chat, None)
    assert is_drawn({"messages": chat}, None)
    assert json.dumps(value) == before  # it is shared: nobody changes it


@pytest.mark.parametrize(("role", "value", "expected"), CHATS.values(), ids=CHATS)
def test_its_preview_is_what_its_last_message_says(role: str, value: Any, expected: list[tuple[str, Any, str]]) -> None:
    last = [text for speaker, _, text in expected if speaker == role][-1]
    assert words_of(json.dumps(value), role) == last
    assert words_of(json.dumps(json.dumps(value)), role) == last  # encoded twice


SHOWN = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
AT = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, AT),
        ({"type": "image_url", "image_url": "https://x.test/a.png"}, AT),
        ({"type": "input_image", "image_url": "https://x.test/a.png"}, AT),
        ({"type": "input_image", "file_id": "f-1"}, "[image: f-1]"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, SHOWN),
        ({"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}, AT),
        ({"image": {"format": "png", "source": {"bytes": PNG}}}, SHOWN),
        ({"type": "image", "image": PNG, "mediaType": "image/png"}, SHOWN),
        ({"type": "image", "image": "https://x.test/a.png"}, AT),
        ({"type": "file", "mediaType": "image/png", "data": PNG}, SHOWN),
        ({"type": "file", "mediaType": "application/pdf", "data": PNG, "filename": "a.pdf"}, "[file: a.pdf]"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "x"}}, "[file: a.pdf]"),
        ({"type": "blob", "mime_type": "image/png", "modality": "image", "content": PNG}, SHOWN),
        ({"type": "blob", "mime_type": "image/png", "data": PNG.replace("+", "-").replace("/", "_")}, SHOWN),
        ({"type": "blob", "mime_type": "image/png", "content": "<redacted>"}, "[image]"),
        ({"type": "blob", "mime_type": "audio/wav", "modality": "audio", "content": "UklGRg=="},
         {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        ({"type": "blob", "mime_type": "video/mp4", "modality": "video", "content": "AAAA"}, "[video: video/mp4]"),
        ({"type": "uri", "modality": "image", "uri": "https://x.test/a.png"}, AT),
        ({"type": "uri", "modality": "image", "uri": "gs://bucket/a.png"}, "[image: gs://bucket/a.png]"),
        ({"type": "uri", "modality": "image", "uri": "javascript:alert(1)"}, "[image: javascript:alert(1)]"),
        ({"type": "uri", "modality": "image", "uri": "https://x.test/a b(1).png\n# h"},
         {"type": "image_url", "image_url": {"url": "https://x.test/a%20b%281%29.png%0A#%20h"}}),
        ({"type": "file", "modality": "image", "file_id": "f-1"}, "[image: f-1]"),
        ({"inlineData": {"mimeType": "image/png", "data": PNG}}, SHOWN),
        ({"media": {"contentType": "image/png", "url": f"data:image/png;base64,{PNG}"}}, SHOWN),
        ({"media": {"url": f"data:image/png;base64,{PNG}"}}, SHOWN),
        ({"media": {"contentType": "application/pdf", "url": "https://example.org/a.pdf"}}, "[file: https://example.org/a.pdf]"),
        ({"inline_data": {"mime_type": "image/png", "data": PNG}}, SHOWN),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png"}}, AT),
        ({"block_type": "image", "image": PNG, "image_mimetype": "image/png"}, SHOWN),
        ({"kind": "image-url", "url": "https://x.test/a.png"}, AT),
        ({"kind": "binary", "media_type": "image/png", "data": PNG}, SHOWN),
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
         {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "flac"}}, "[audio]"),
        ({"type": "document", "title": "Terms", "source": {"type": "text", "data": "x"}}, "[document: Terms]"),
        ({"type": "refusal", "refusal": "No."}, "No."),
        ({"type": "hologram", "content": "a cat"}, "a cat"),
        ({"type": "hologram", "depth": 3}, '{"type": "hologram", "depth": 3}'),
        ("a text", "a text"),
        (7, "7"),
    ],
)  # fmt: skip
def test_pictures_sounds_and_files(block: Any, part: Any) -> None:
    """What the UI can show is shown, everything else is named in words."""
    chat = chat_of([{"role": "user", "content": [{"type": "text", "text": "Look:"}, block]}], "user")
    assert chat is not None
    assert chat[0]["content"][1] == ({"type": "text", "text": part} if isinstance(part, str) else part)
    assert is_drawn(chat, "vercel_ai")


def test_many_calls_and_items_take_a_time_that_grows_with_their_number() -> None:
    """Each in a list of its own length would take minutes."""
    many = 20_000 // EACH
    calls = [{"id": str(number), "function": {"name": "f", "arguments": "{}"}} for number in range(many)]
    items = [{"type": "function_call", "call_id": str(number), "name": "f", "arguments": "{}"} for number in range(many)]
    (one,) = chat_of([{"role": "assistant", "content": None, "tool_calls": calls}], "user") or []
    (other,) = chat_of(items, "assistant") or []
    assert len(one["tool_calls"]) == len(other["tool_calls"]) == many


def _deep(depth: int) -> Any:
    return {"messages": [_deep(depth - 1)]} if depth else {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    "value",
    [
        None, "", "text", 0, True, 1.5, [], {}, [[]], [{}], [None], [1, 2], ["a", "b"], {"messages": []}, {"messages": None},
        {"messages": ""}, {"messages": [1]}, {"messages": [{}]}, {"choices": []}, {"choices": [None]}, {"choices": [{}]},
        {"a": 1}, {"city": "Paris"}, {"order": 5, "items": [{"id": 1}]}, {"input": "text"}, {"role": "admin"}, {"content": "x"},
        {"generations": [[]]}, {"candidates": [{}]}, {"output": []}, {"data": {"role": "user"}},
        {"inputs": {"inputs": {}}}, _deep(40),
    ],
)  # fmt: skip
def test_what_is_no_chat_is_none(value: Any) -> None:
    assert not chat_of(value, "user")


@pytest.mark.parametrize(
    "message",
    [
        {"role": None, "content": "x"}, {"role": 5, "content": "x"}, {"role": "", "content": "x"}, {"role": "user",
        "content": 5},
        {"role": "user", "content": {"a": 1}}, {"role": "user", "content": [None, 5, [], {}]}, {"role": "user", "parts": {}},
        {"role": "assistant", "content": None, "tool_calls": "x"}, {"role": "assistant",
        "content": None, "tool_calls": [None, {}]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": None}}, {"name": 5}]},
        {"role": "tool", "content": None}, {"role": "tool", "content": {"a": {"b": 1}}}, {"role": "tool", "content": [[1]]},
        {"role": "user", "content": [{"type": "image_url", "image_url": None}]},
        {"role": "user", "content": [{"type": "image", "source": {"data": None}}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,)!["}}]},
        {"role": "user", "content": [{"type": ["odd"], "text": 5}]}, {"role": "user", "content": "[{broken}]"},
        {"lc": 1, "kwargs": {}}, {"type": "human", "data": {}}, {"type": "reasoning", "summary": None},
        {"kind": "request", "parts": [5]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": None}]},
    ],
)  # fmt: skip
def test_messages_of_an_odd_form_are_drawn_all_the_same(message: Any) -> None:
    value = {"messages": [message, {"role": "user", "content": "Hi?"}]}
    chat = chat_of(value, "user") or []
    assert chat == [] or is_drawn(chat, None)
    assert isinstance(words_of(json.dumps(value), "user"), str)


@pytest.mark.parametrize(
    ("text", "role", "words"),
    [
        ('"quoted"', "assistant", "quoted"),
        ("not JSON: {", "user", "not JSON: {"),
        ('"line\\nline"', "user", "line\nline"),
        ('{"question": "refund?"}', "user", "refund?"),
        ('{"input": "Hi?", "chat_history": []}', "user", "Hi?"),
        ('{"outputs": {"answer": "yes"}}', "assistant", "yes"),
        ('{"inputs": "Hi?"}', "user", "Hi?"),
        ('{"city": "Paris"}', "user", ""),
        ('{"order": 5, "status": "paid"}', "assistant", ""),
        ('{"raw": "It is sunny.", "tasks_output": [{"raw": "It is"}], "tokens": {"total": 9}}', "assistant", "It is sunny."),
        ('{"trajectory": {"thought_0": "Hm."}, "reasoning": "So.", "answer": "It is sunny."}', "assistant", "It is sunny."),
        ('{"question": "Is it sunny?", "trajectory": "[[ ## thought ## ]]"}', "user", "Is it sunny?"),
        ('{"answer": {"city": "Paris"}, "question": "Is it?"}', "assistant", ""),
        ('{"model_version": "g", "content": {"role": "model", "parts": [{"text": "It is sunny."}]}, "finish_reason": "STOP"}',
         "assistant", "It is sunny."),
        ("[1, 2]", "assistant", ""),
        ("12", "assistant", ""),
        ("", "user", ""),
        ('[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]}]', "user", "[image]"),
        ('[{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "args": {}}]}]', "assistant", "f()"),
        ('[{"role": "assistant", "content": null, "tool_calls": [{"name": "f", "args": {"a": "é"}},'
         ' {"name": "g", "args": "{broken"}]}]',
         "assistant", 'f({"a": "é"}), g({broken)'),
        ('[{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}]}]', "assistant", "Hm."),
        ('[{"role": "system", "content": "Be brief."}]', "user", "Be brief."),
        ("[" * 300 + "]" * 300, "user", ""),
        ('{"a":' * 100_000, "user", '{"a":' * 100_000),
    ],
)  # fmt: skip
def test_words(text: str, role: str, words: str) -> None:
    assert words_of(text, role) == words
