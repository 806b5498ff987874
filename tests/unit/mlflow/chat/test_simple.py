"""A message that is read at once becomes what it becomes where every library's marks are looked for."""

import json
from itertools import product
from typing import Any

import pytest
from thinned import EACH, thinned

from headrace.mlflow.translate.chat import message
from headrace.mlflow.translate.chat.simple import simple_message

PARTS: tuple[Any, ...] = (
    {"type": "text", "content": "Hi?"},
    {"type": "text", "content": ""},
    {"type": "text", "content": None},
    {"type": "text", "content": "a", "text": "b"},
    {"type": "text", "text": "b"},
    {"type": "tool_call", "id": "c1", "name": "get", "arguments": {"a": "ü"}},
    {"type": "tool_call", "id": "c1", "name": "get", "arguments": '{"a": 1}'},
    {"type": "tool_call", "id": "", "name": "get", "arguments": []},
    {"type": "tool_call", "id": None, "name": "get"},
    {"type": "tool_call", "id": "c1", "name": "", "arguments": {}},
    {"type": "tool_call", "id": "c1", "name": "get", "arguments": {}, "input": {"b": 1}},
    {"type": "tool_call_response", "id": "c1", "response": "found"},
    {"type": "tool_call_response", "id": "", "response": {"a": [1]}},
    {"type": "tool_call_response", "id": "c1", "response": [{"type": "text", "text": "found"}]},
    {"type": "tool_call_response", "id": None, "response": "found"},
    {"type": "tool_call_response", "id": "c1", "response": None, "result": "found"},
    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "iVBORw0KGgo="},
    {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "<redacted>"},
    {"type": "reasoning", "content": "Hm."},
    "a text",
    None,
)
ROLES: tuple[Any, ...] = ("user", "assistant", "system", "tool", "developer", "Human", None, 5)
NOTHING: dict[str, Any] = {}
CONTENTS: tuple[Any, ...] = ("Hi?", "", '[{"text": "Hi?"}]', "[{", None, 5, [{"type": "text", "text": "Hi?"}])


def general(value: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(message, "simple_message", lambda _: None)
        return message.messages_of(value, "user")


def test_parts_of_genai(monkeypatch: pytest.MonkeyPatch) -> None:
    simple = 0
    pairs = [[], *([one] for one in PARTS), *map(list, product(PARTS, PARTS))]
    for role, parts, more in product(
        ROLES, thinned(pairs), (NOTHING, {"finish_reason": "stop"}, {"name": "bob"}, {"content": "x"})
    ):
        value: dict[str, Any] = {"role": role, "parts": parts} | more
        simple += simple_message(value) is not None
        assert json.dumps(message.messages_of(value, "user")) == json.dumps(general(value, monkeypatch)), value
    assert simple > 200 // EACH


def test_texts_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    for role, content, more in product(ROLES, CONTENTS, (NOTHING, {"tool_call_id": "c1"}, {"name": "bob"}, {"refusal": None})):
        value: dict[str, Any] = {"role": role, "content": content} | more
        assert message.messages_of(value, "user") == general(value, monkeypatch), value
    assert simple_message({"role": "user", "content": "Hi?"}) == {"role": "user", "content": "Hi?"}
