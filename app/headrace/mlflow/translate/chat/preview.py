"""What was asked and what was answered, in words: a text, or `get_weather({"city": "Paris"})` of a tool call. No I/O."""

import json
from collections.abc import Mapping
from typing import Any

from headrace.mlflow.json_text import loads
from headrace.mlflow.translate.chat.media import is_placeholder
from headrace.mlflow.translate.chat.message import KNOWN_ROLES, Message, messages_of
from headrace.mlflow.translate.chat.shapes import QUESTIONS, SAID, chat_of, said_in

_WORDS = frozenset(
    {
        *QUESTIONS,
        *SAID,
        "topic",
        "inputs",
        "outputs",
        "result",
    }
)
"""Keys whose value is what was said, where it is the only one that says something."""
_CALLED = {"user": "inputs", "assistant": "outputs"}
"""Keys of what was called with, and what it gave, of LangChain's callbacks, whatever stands beside it."""
_NO_ARGUMENTS = ("{}", "null", '""', "")
_MEDIA = {"text": "text", "image_url": "image", "input_audio": "audio"}
_DEPTH = 4


def words_of(value: Any, role: str) -> str:
    """A root's inputs (`role`: `user`) or outputs (`assistant`) in words. `value`: a text, most often JSON. Empty: it has none.

    Of a chat it is the last message of that role: its text, else its tool calls, else its reasoning.
    """
    if not isinstance(value, str):
        return _words(value, role, _DEPTH).strip()
    try:
        parsed = loads(value)
    except (ValueError, RecursionError):
        return value.strip()
    return _words(parsed, role, _DEPTH).strip()


def is_silent(value: Any, role: str) -> bool:
    """Whether it is a chat in which nobody says anything."""
    try:
        chat = chat_of(loads(value) if isinstance(value, str) else value, role)
    except (ValueError, RecursionError):
        return False
    return bool(chat) and not any(map(_said, chat or ()))


def _words(value: Any, role: str, depth: int) -> str:
    if isinstance(value, str):
        return _of_text(value, role, depth)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return _of_text(value[0], role, depth)
    if text := _last(value, role):
        return text
    if chat := chat_of(value, role):
        return _of_chat(chat, role)
    return _only(value, role, depth) if isinstance(value, dict) and depth else ""


def _only(value: dict[str, Any], role: str, depth: int) -> str:
    """What the one value says that says anything: a text below a known key, or what it wraps."""
    said = {key: inner for key, inner in value.items() if not isinstance(inner, bool) and inner not in (None, "", [], {})}
    if len(said) != 1:
        called = said.get(_CALLED.get(role, ""))
        if isinstance(called, dict | list) and (text := _words(called, role, depth - 1)):
            return text
        return said_in(said, role)
    ((key, inner),) = said.items()
    if key == "args" and isinstance(inner, list) and len(inner) == 1:  # of a function that is traced
        inner = inner[0]
    elif isinstance(inner, str) and key not in _WORDS:
        return ""
    return _words(inner, role, depth - 1) if isinstance(inner, str | dict | list) else ""


def _last(value: Any, role: str) -> str:
    """What the last message of this role says, of messages that all say whose they are: the others need not be read."""
    items = value.get("messages") if isinstance(value, dict) else value
    for item in reversed(items) if isinstance(items, list) else ():
        if not isinstance(item, dict) or item.get("role") not in KNOWN_ROLES or "kwargs" in item or "data" in item:
            return ""
        if item["role"] == role:
            said = [text for message in messages_of(item, role) if message["role"] == role and (text := _said(message))]
            if said:
                return said[-1]
    return ""


def _of_text(text: str, role: str, depth: int) -> str:
    """A text; if it is JSON once more, what that says."""
    if depth and text[:1] in ("{", "[", '"'):
        try:
            return _words(loads(text), role, depth - 1) or text
        except (ValueError, RecursionError):
            return text
    return text


def _of_chat(chat: list[Message], role: str) -> str:
    for message in reversed(chat):
        if message["role"] == role and (text := _said(message)):
            return text
    return next((text for message in reversed(chat) if (text := _said(message))), "")


def _said(message: Message) -> str:
    return _text(message.get("content")) or ", ".join(map(_call, message.get("tool_calls", ()))) or message.get("reasoning", "")


def _text(content: Any) -> str:
    """The texts of a message; where it has none, what else is in it: `[image]`."""
    if not isinstance(content, list):
        return str(content or "").strip()
    texts = [part["text"] for part in content if part["type"] == "text" and part["text"].strip()]
    said = [text for text in texts if not (is_placeholder(text) or text.startswith('{"'))]  # the JSON of an unknown part
    return "\n".join(said) or " ".join(part.get("text") or f"[{_MEDIA[part['type']]}]" for part in content)


def _call(call: Mapping[str, Any]) -> str:
    function = call["function"]
    arguments = function["arguments"]
    try:
        arguments = json.dumps(loads(arguments), ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return f"{function['name']}({'' if arguments in _NO_ARGUMENTS else arguments})"
