"""Messages in one normal form, whichever dialect they came in. Pure; no I/O.

The normal form is OpenAI's chat, which MLflow's UI draws and whose previews it knows:

    inputs   {"messages": [Message, …]}                   `as_inputs`
    outputs  {"choices": [{"index": 0, "message": Message}, …]}    `as_outputs`

A `Message` has a role, and content, tool calls, or both. Whatever a dialect says in another form becomes this: a list that is
flattened into numbered attributes (`from_flattened`), or a list of events (`from_events`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from typing_extensions import NotRequired

from headrace.mlflow.translate.chat.joined import joined

_DEPTH = 12
"""Steps of a flattened key that are followed. The deepest key of a dialect, a tool call's arguments, has eight."""
_THOUGHTS = ("reasoning", "thinking", "redacted_thinking")
"""Types of parts that are no answer."""
_ROLES = {"human": "user", "ai": "assistant", "model": "assistant", "tool-call": "assistant", "tool-response": "tool"}
"""Names of roles that MLflow's UI does not know → those that it knows."""


class Function(TypedDict):
    """What a tool call calls: `arguments` is a text, most often JSON."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call that the assistant asks for. The answer is a message of the role `tool` with its id."""

    id: str
    type: str
    function: Function


class Message(TypedDict):
    """One message of a chat."""

    role: str
    content: NotRequired[str | list[dict[str, Any]] | None]
    """A text; or parts, `{"type": "text", "text": …}` and `{"type": "image_url", "image_url": {"url": …}}`; or None."""
    reasoning: NotRequired[str]
    """What the model thought before it answered."""
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


def as_inputs(messages: list[Message]) -> dict[str, Any]:
    """The inputs of a span that sent these messages to a model."""
    return {"messages": joined([*map(dict, messages)])}


def as_outputs(messages: list[Message]) -> dict[str, Any]:
    """The outputs of a span to which a model answered with these messages: each is one choice. Reasoning and calls that came as
    messages of their own belong to one with the answer."""
    return {"choices": [{"index": number, "message": message} for number, message in enumerate(joined([*map(dict, messages)]))]}


def is_chat(value: Any) -> bool:
    """Whether inputs or outputs are such a chat already: MLflow's UI draws them as they are."""
    if not isinstance(value, dict):
        return False
    messages, choices = value.get("messages"), value.get("choices")
    if isinstance(choices, list):
        messages = [choice.get("message") if isinstance(choice, dict) else None for choice in choices]
    return isinstance(messages, list) and bool(messages) and all(map(_is_message, messages))


def count_messages(value: Any) -> int:
    """How many messages inputs or outputs of any library hold, as far as one can tell: LangChain has lists of lists of them."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("messages", "choices", "generations") if isinstance(value.get(key), list)), None)
    if not isinstance(value, list):
        return 0
    return sum(len(item) if isinstance(item, list) else 1 for item in value)


def _is_message(value: Any) -> bool:
    """Whether MLflow's UI takes it for a message of OpenAI's."""
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "parts" not in value


def from_flattened(pairs: Iterable[tuple[str, Any]], role: str = "user") -> list[Message]:
    """Attributes without their common prefix, `0.message.role` for example, and their values → messages in numeric order.

    `role`: whose a message is that does not say. Messages that say nothing are left out.
    """
    found = [_message(_inside(item, "message"), role) for item in numbered(nested(pairs))]
    return [message for message in found if message is not None]


def from_events(events: Any) -> tuple[list[Message], list[Message]]:
    """A list of GenAI events as JSON has it (`{"event.name": "gen_ai.user.message", "content": …}`) → what was sent to the
    model, and what it answered (`gen_ai.choice`)."""
    sent: list[Message] = []
    answered: list[Message] = []
    for event in events if isinstance(events, list) else ():
        if not isinstance(event, dict):
            continue
        name = str(event.get("event.name", ""))
        inner = event.get("message") if name == "gen_ai.choice" else event
        role = name.removeprefix("gen_ai.").removesuffix(".message") if name.endswith(".message") else "assistant"
        message = _message({"role": role} | inner if isinstance(inner, dict) else {"role": role, "content": inner})
        if message is not None:
            (answered if name == "gen_ai.choice" else sent).append(message)
    return sent, answered


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Keys with dots → dicts in dicts."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        node = root
        *path, last = key.split(".", _DEPTH)
        for step in path:
            below = node.get(step)
            if not isinstance(below, dict):
                below = node[step] = {}
            node = below
        if not isinstance(node.get(last), dict):
            node[last] = value
    return root


def numbered(items: Any) -> list[Any]:
    """The values of a dict whose keys are numbers, in their order; a list as it is; else nothing."""
    if isinstance(items, list):
        return items
    if not isinstance(items, dict):
        return []
    return [items[key] for key in sorted((key for key in items if key.isdecimal() and len(key) < 10), key=int)]


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _inside(item: Any, name: str) -> Any:
    """What a dialect wraps once more: `{"message": {…}}`."""
    return item.get(name, item) if isinstance(item, dict) else item


def _message(raw: Any, otherwise: str = "user") -> Message | None:
    """A message of any of the flattened forms, or None where it says nothing."""
    if not isinstance(raw, dict):
        return None
    role = str(raw.get("role") or otherwise)
    if role in _THOUGHTS:  # Traceloop, of Anthropic's
        raw = {"reasoning": raw.get("content")}
        role = "assistant"
    message: Message = {"role": _ROLES.get(role, role)}
    calls, content, reasoning = _tool_calls(raw), _content(raw), _reasoning(raw)
    if content is None and not (calls or reasoning):
        return None
    message["content"] = content
    if reasoning:
        message["reasoning"] = reasoning
    if calls:
        message["tool_calls"] = calls
    if call_id := raw.get("tool_call_id") or (raw.get("id") if message["role"] == "tool" else None):
        message["tool_call_id"] = str(call_id)
    if name := raw.get("name"):
        message["name"] = str(name)
    return message


def _content(raw: Mapping[str, Any]) -> Any:
    """The text, or the parts; None: neither. An empty text is something that was said."""
    content = raw.get("content")
    if isinstance(content, list | str):
        return content
    if content is not None and not isinstance(content, dict):
        return text_of(content)
    parts = numbered(raw.get("contents")) or numbered(content)
    if parts:
        said = [_inside(part, "message_content") for part in parts if not (isinstance(part, dict) and "tool_call" in part)]
        return [_part(part) for part in said if not _is_reasoning(part)] or None
    return text_of(content) if content else None


def _reasoning(raw: Mapping[str, Any]) -> str:
    """What stands beside the content, or among its parts, as reasoning."""
    parts = [_inside(part, "message_content") for part in numbered(raw.get("contents")) or numbered(raw.get("content"))]
    texts = [text_of(part.get("text") or part.get("thinking") or "") for part in parts if _is_reasoning(part)]
    beside = next((text for key in ("reasoning", "reasoning_content") if isinstance(text := raw.get(key), str)), "")
    return "\n\n".join(filter(None, [beside, *texts]))


def _is_reasoning(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _THOUGHTS


def _part(raw: Any) -> dict[str, Any]:
    """A part of a message's content."""
    if not isinstance(raw, dict):
        return {"type": "text", "text": text_of(raw)}
    image = _inside(raw.get("image"), "image")
    url = image.get("url") if isinstance(image, dict) else None
    if url:
        return {"type": "image_url", "image_url": {"url": str(url)}}
    sound = _inside(raw.get("audio"), "audio")
    if isinstance(sound, dict) and sound:
        return {
            "type": "text",
            "text": str(sound.get("transcript") or f"[audio: {sound.get('url') or sound.get('mime_type')}]"),
        }
    return {"type": "text", "text": text_of(raw.get("text", raw))}


def _tool_calls(raw: Mapping[str, Any]) -> list[ToolCall]:
    """The calls of a message, under whichever of their names."""
    called = numbered(raw.get("tool_calls")) or [raw.get("function_call")]  # the latter of LiteLLM's callback
    if name := raw.get("function_call_name"):  # OpenInference
        called = [*called, {"name": name, "arguments": raw.get("function_call_arguments_json") or "{}"}]
    return [call for item in called if (call := _tool_call(_inside(item, "tool_call")))]


def _tool_call(raw: Any) -> ToolCall | None:
    if not isinstance(raw, dict):
        return None
    function = raw.get("function")
    function = function if isinstance(function, dict) else raw
    if not (name := function.get("name")):
        return None
    arguments = function.get("arguments", {})
    return {"id": str(raw.get("id", "")), "type": "function", "function": {"name": str(name), "arguments": text_of(arguments)}}
