"""The two forms that most messages have, read at once: OpenTelemetry's GenAI parts, and OpenAI's. No I/O.

What `message.py` makes of them after it has looked for the marks of each library. An agent sends its whole conversation with
each call, so most of an agent's time went into that look.
"""

from collections.abc import Mapping
from typing import Any

from headrace.mlflow.translate.chat.blocks import plain_text, read, text_of
from headrace.mlflow.translate.chat.media import Part

_SPEAKERS = frozenset({"user", "assistant", "system"})
_GENAI = frozenset({"role", "parts", "finish_reason"})
_CALL = frozenset({"type", "id", "name", "arguments"})
_RESULT = frozenset({"type", "id", "response"})
_BLOB = frozenset({"type", "modality", "mime_type", "content"})


def simple_messages(items: list[Any]) -> list[dict[str, Any]] | None:
    """All of these messages in OpenAI's form. None: one of them is not of one of the two forms."""
    found = []
    for item in items:
        message = simple_message(item) if item.__class__ is dict else None
        if message is None:
            return None
        found.append(message)
    return found


def simple_message(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message in OpenAI's form. None: it is not of one of the two forms, or says more than they have."""
    role = value.get("role")
    if role.__class__ is not str:
        return None
    if value.keys() <= _GENAI:
        parts = value.get("parts")
        if parts.__class__ is not list or not parts:
            return None
        if role in _SPEAKERS:
            return _of_parts(role, parts)
        return _result(parts[0]) if role == "tool" and len(parts) == 1 else None
    if len(value) == 2 and role in _SPEAKERS and (content := value.get("content")).__class__ is str:
        return None if content[:2] == "[{" else {"role": role, "content": content}  # it may be a list of blocks
    return None


def _of_parts(role: str, parts: list[Any]) -> dict[str, Any] | None:
    """A message of texts, pictures and calls."""
    content: list[Part] = []
    calls = []
    for part in parts:
        kind = part.get("type") if part.__class__ is dict else None
        if kind == "text" and len(part) == 2 and (text := part.get("content")).__class__ is str:
            content.append({"type": "text", "text": text})
        elif kind == "tool_call" and (call := _call(part)) is not None:
            calls.append(call)
        elif kind == "blob" and part.keys() <= _BLOB and (shown := read(part).part) is not None:
            content.append(shown)
        else:
            return None
    message = {"role": role, "content": content_of(content, alone=not calls)}
    if calls:
        message["tool_calls"] = calls
    return message


def _call(part: Mapping[str, Any]) -> dict[str, Any] | None:
    call_id, name, arguments = part.get("id"), part.get("name"), part.get("arguments")
    if not (call_id and name) or call_id.__class__ is not str or name.__class__ is not str or arguments is None:
        return None
    if not part.keys() <= _CALL:
        return None
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text_of(arguments)}}


def _result(part: Any) -> dict[str, Any] | None:
    """A tool's answer."""
    if part.__class__ is not dict or part.get("type") != "tool_call_response" or not part.keys() <= _RESULT:
        return None
    call_id, response = part.get("id"), part.get("response")
    if call_id.__class__ is not str or response is None:
        return None
    return {"role": "tool", "tool_call_id": call_id, "content": plain_text(response)}


def content_of(parts: list[Part], *, alone: bool) -> str | list[Part] | None:
    """The text alone where there is nothing else. An empty text counts only if the message says nothing else (`alone`)."""
    if not alone or len(parts) > 1:
        parts = [part for part in parts if part.get("text") != ""]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts or None
