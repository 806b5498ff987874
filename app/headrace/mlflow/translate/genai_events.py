"""Events that hold what was asked of a model and what it answered → the attributes that a span would have had. No I/O.

Instrumentations put messages into events of a span, or into log records that belong to a span. Both come here as `Event`. What
they say becomes `gen_ai.input.messages` and its siblings, as if the span itself had been sent with them, so that whatever reads
a span's own messages reads these.

Sources: OpenTelemetry's conventions for generative AI, "Events"
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-events/), those of version 1.36 and before, in which each message is
an event, and what instrumentations really send: OpenTelemetry's for OpenAI, Traceloop's, Semantic Kernel's, Strands'.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.mlflow.logs.record import CONTENT_NAMES

INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_TOOL_INPUT, _TOOL_OUTPUT = "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
_DETAILS = "gen_ai.client.inference.operation.details"
_TOLD_BY_DETAILS = (INPUT, OUTPUT, "gen_ai.system_instructions", "gen_ai.tool.definitions")
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.content.prompt": "user",
    "gen_ai.prompt": "user",
}
_ORDER = ("system", "user", "assistant", "tool")
_CHOICES = ("gen_ai.choice", "gen_ai.content.completion")
SPAN_EVENT_NAMES = CONTENT_NAMES - {"gen_ai.content.prompt", "gen_ai.content.completion", "gen_ai.prompt"}
"""Those that are read of a span's own events. The others MLflow reads itself."""
_INDEX = "CHAT_MESSAGE_INDEX"
_EVENT_BODY = "gen_ai.event.content"
_NEVER = 2**63
_PART_KEYS = frozenset({"type", "text", "toolUse", "toolResult"})
"""A text whose JSON is a list of objects with one of these is a list of parts; any other text is what was said."""
_PAYLOAD_KEYS = frozenset({"role", "content", "parts", "message", "tool_calls", "finish_reason", *_TOLD_BY_DETAILS})
"""A text whose JSON is an object with one of these is a message, a choice or details; any other text is what was said."""


class Event(NamedTuple):
    """An event of a span, or a log record. Its values are Python's."""

    name: str
    time: int
    """In nanoseconds."""
    attributes: Mapping[str, Any]
    body: Any = None
    position: int = 0
    """Of those with the same time. A span's event: its place among all of them; a log record: see `Rank`."""


def attributes_told(events: Iterable[Event], operation: str) -> dict[str, Any]:
    """What these events say, as attributes of their span. Events of other names say nothing.

    `operation`: the span's `gen_ai.operation.name`.
    """
    content = sorted((event for event in events if event.name in CONTENT_NAMES), key=_rank)
    told: dict[str, Any] = {}
    inputs = [message for event in content if (message := _input(event))]
    outputs = [message for event in content if (message := _output(event))]
    if not outputs and len(inputs) > 1 and inputs[-1]["role"] == "assistant":
        outputs = [inputs.pop()]  # Azure's agents call their answer a message like all others
    if inputs:
        told[INPUT] = inputs
    if outputs:
        told[OUTPUT] = outputs
    if operation == "execute_tool":
        told = _of_a_tool(told)
    for event in content:
        if event.name == _DETAILS:
            details = {**_payload(event), **event.attributes}
            told |= {key: _parsed(details[key]) for key in _TOLD_BY_DETAILS if details.get(key)}
    return told


def _rank(event: Event) -> tuple[int, int, int, int]:
    """By the index of a message, then by time; at the same time as they were sent, else in the order of a conversation."""
    index = event.attributes.get(_INDEX)
    if index is None and event.name in _CHOICES:
        index = _payload(event).get("index")
    role = _ROLES.get(event.name, "")
    return _whole(index), event.time, event.position, _ORDER.index(role) if role else len(_ORDER)


def _whole(index: Any) -> int:
    try:
        return min(int(index), _NEVER)
    except (TypeError, ValueError, OverflowError):
        return -1


def _payload(event: Event) -> Mapping[str, Any]:
    """What the event says of its message: in its body, a text of JSON perhaps, or in its attributes."""
    body = event.body if event.body is not None else event.attributes.get(_EVENT_BODY)
    if body is None:
        return event.attributes
    value = _parsed(body)
    if isinstance(value, dict) and (value is body or not _PAYLOAD_KEYS.isdisjoint(value)):
        return value
    return {"content": body}


def _input(event: Event) -> dict[str, Any] | None:
    if event.name not in _ROLES:
        return None
    payload = _payload(event)
    return _message(payload, payload.get("role") or _ROLES[event.name])


def _output(event: Event) -> dict[str, Any] | None:
    """A choice: its message may be an object, a text, or the payload itself."""
    if event.name not in _CHOICES:
        return None
    payload = _payload(event)
    inner = _parsed(payload.get("message"))
    if isinstance(inner, dict):
        calls = {"tool_calls": payload["tool_calls"]} if payload.get("tool_calls") else {}
        payload_of_message: Mapping[str, Any] = calls | inner
    elif inner is not None:
        payload_of_message = {**payload, "content": inner}
    else:
        payload_of_message = payload
    message = _message(payload_of_message, payload_of_message.get("role") or "assistant")
    if message and (reason := payload.get("finish_reason")):
        message["finish_reason"] = reason
    return message


def _message(payload: Mapping[str, Any], role: Any) -> dict[str, Any] | None:
    """A message in the form of `gen_ai.input.messages`; None where it says nothing."""
    role = str(role)
    if isinstance(parts := _parsed(payload.get("parts")), list):
        return {"role": role, "parts": [part if isinstance(part, dict) else _part(_text(part)) for part in parts]}
    content = payload.get("content")
    for key in ("gen_ai.prompt", "gen_ai.completion"):
        content = payload.get(key) if content is None else content
    call_id = payload.get("id") or payload.get("tool_call_id")
    parts = _tool_parts(content, call_id) if role == "tool" else _parts(content)
    if reasoning := payload.get("reasoning_content"):
        parts.insert(0, {"type": "reasoning", "content": reasoning})
    calls = _parsed(payload.get("tool_calls"))
    parts += [_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return {"role": role, "parts": parts} if parts else None


def _tool_parts(content: Any, call_id: Any) -> list[dict[str, Any]]:
    """What a tool gave: of one call, unless its parts name their own."""
    parts = _parts(content)
    if any(part["type"] == "tool_call_response" for part in parts):
        return parts
    response = _joined(parts) if parts and all(part["type"] == "text" for part in parts) else content
    return [] if response is None else [_without_none({"type": "tool_call_response", "id": call_id, "response": response})]


def _parts(content: Any) -> list[dict[str, Any]]:
    if content is None or content == "":
        return []
    value = _parsed(content)
    if isinstance(value, dict) and value.keys() == {"text"}:  # {"text": {"value": …}} of Azure's agents
        value = content = value["text"].get("value") if isinstance(value["text"], dict) else value["text"]
    if isinstance(value, list) and _are_parts(value, as_text=value is not content):
        return [_part(item) for item in value]
    return [{"type": "text", "content": content if isinstance(content, str) else _text(content)}]


def _are_parts(items: list[Any], *, as_text: bool) -> bool:
    """Whether these are parts of a message. `as_text`: they came as a text, which may say anything."""
    if as_text:
        return bool(items) and all(isinstance(item, dict) and not _PART_KEYS.isdisjoint(item) for item in items)
    return all(isinstance(item, dict | str) for item in items)


def _part(item: dict[str, Any] | str) -> dict[str, Any]:
    """One part, in the form of OpenTelemetry, from the forms of OpenAI, Anthropic or Bedrock."""
    if isinstance(item, str):
        return {"type": "text", "content": item}
    kind = item.get("type")
    call, result = item.get("toolUse"), item.get("toolResult")
    if isinstance(call, dict) or kind == "tool_use":
        call = call if isinstance(call, dict) else {**item, "toolUseId": item.get("id")}
        used = {"type": "tool_call", "id": call.get("toolUseId"), "name": call.get("name"), "arguments": call.get("input")}
        return _without_none(used)
    if isinstance(result, dict) or kind == "tool_result":
        result = result if isinstance(result, dict) else {**item, "toolUseId": item.get("tool_use_id")}
        return _response(result.get("toolUseId"), result.get("content"))
    if kind in (None, "text", "input_text", "output_text") and isinstance(text := item.get("text", item.get("content")), str):
        return {"type": "text", "content": text}
    if kind == "image_url":
        url = item.get("image_url")
        return {"type": "uri", "modality": "image", "uri": url.get("url") if isinstance(url, dict) else url}
    return item if isinstance(kind, str) else {"type": "text", "content": _text(item)}


def _response(call_id: Any, content: Any) -> dict[str, Any]:
    parts = _parts(content)
    said = _joined(parts) if all(part["type"] == "text" for part in parts) else content
    return _without_none({"type": "tool_call_response", "id": call_id, "response": said})


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call in OpenAI's form, or flat."""
    function = call.get("function")
    said: Mapping[str, Any] = function if isinstance(function, dict) else call
    arguments = _parsed(said.get("arguments"))
    return _without_none({"type": "tool_call", "id": call.get("id"), "name": said.get("name"), "arguments": arguments})


def _of_a_tool(told: Mapping[str, Any]) -> dict[str, Any]:
    """A span that runs a tool has its arguments and its result, and no chat."""
    found = {}
    if inputs := told.get(INPUT):
        found[_TOOL_INPUT] = _parsed(_said(inputs))
    if outputs := told.get(OUTPUT):
        found[_TOOL_OUTPUT] = _said(outputs)
    return found


def _said(messages: Sequence[Mapping[str, Any]]) -> Any:
    """The text of all parts, or the one thing that they hold."""
    parts = [part for message in messages for part in message["parts"]]
    found = [part.get("response", part.get("content", part)) for part in parts]
    return found[0] if len(found) == 1 else _joined(parts)


def _joined(parts: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(text if isinstance(text := part.get("content"), str) else _text(part) for part in parts)


def _parsed(value: Any) -> Any:
    """What a text of JSON says, if it is an object or a list; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found if isinstance(found, dict | list) else value
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _without_none(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if value is not None}
