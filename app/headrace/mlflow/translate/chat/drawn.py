"""Inputs and outputs as MLflow's UI draws them: a chat that it would show raw is written in OpenAI's form. No I/O.

The UI shows a whole conversation raw if it does not know one part of one message. What the client sent stays in the span's
attributes; only what MLflow's translation has made of it is written anew, and only where the UI would not draw it.

Source: mlflow/server/js/src/shared/web-shared/model-trace-explorer/ModelTraceExplorer.utils.tsx and chat-utils/ (3.17).
"""

from collections.abc import Collection, Mapping
from typing import Any

from headrace.mlflow.json_text import JsonText, dumps, dumps_long, loads
from headrace.mlflow.keys import CHAT_MESSAGES, MESSAGE_FORMAT, SPAN_INPUTS, SPAN_OUTPUTS, SPAN_TYPE
from headrace.mlflow.translate.chat.message import KNOWN_ROLES, Message, is_message, messages_of
from headrace.mlflow.translate.chat.preview import words_of
from headrace.mlflow.translate.chat.shapes import ANSWERS, LISTS, SYSTEM, chat_of, instructions

_INSTRUCTIONS = ("gen_ai.system_instructions", "system_prompt")
"""Attributes with the system's instructions: of the GenAI conventions, of Strands."""
_TOOL = '"TOOL"'
_OPENAI = (None, "openai", "langchain")
"""Message formats in which the UI looks for `messages` and `choices` in a dict; in all of them it takes a list of messages."""
_TEXTS = ("text", "input_text", "output_text")
_READ = frozenset(
    {*LISTS, *SYSTEM, *ANSWERS, "message", "content", "parts", "role", "type", "prompt", "inputs", "outputs", "output"}
)
"""Keys that the chat was read from: the others are kept beside it."""


def draw(attributes: dict[str, Any], sent: Collection[str]) -> None:
    """Writes inputs and outputs that are a chat so that the UI draws them, the system's instructions first.

    Args:
        attributes: of one span, as MLflow's translation leaves them, values dumped as JSON; changed in place.
        sent: the keys that the client sent: their values stay.
    """
    if CHAT_MESSAGES in attributes or not (_is_ours(SPAN_INPUTS, attributes, sent) or _is_ours(SPAN_OUTPUTS, attributes, sent)):
        return
    drawing = _Drawing(attributes, sent)
    asked = drawing.side(SPAN_INPUTS, "user", drawing.instructions())
    answered = drawing.side(SPAN_OUTPUTS, "assistant")
    if drawing.is_tool:
        return  # it talks to nobody: a plain value beside a tool's message is no message
    if asked and answered is False:
        drawing.wrap(SPAN_OUTPUTS, "assistant")
    elif answered and asked is False:
        drawing.wrap(SPAN_INPUTS, "user")


def _is_ours(key: str, attributes: Mapping[str, Any], sent: Collection[str]) -> bool:
    return key in attributes and key not in sent


def _value(attributes: Mapping[str, Any], key: str) -> Any:
    text = attributes.get(key)
    try:
        return loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text


_ELSEWHERE = frozenset({"parts", "blocks"})
"""Where a message of Gemini or Pydantic AI, and one of LlamaIndex, has its content: the UI would show an empty one."""
_INSTEAD = ("refusal", "audio")
"""Where one of OpenAI without content has what it says. Each is there in most messages, and empty."""


class _Drawing:
    def __init__(self, attributes: dict[str, Any], sent: Collection[str]) -> None:
        self._attributes, self._sent = attributes, sent
        self._format = _value(attributes, MESSAGE_FORMAT)
        self.is_tool = attributes.get(SPAN_TYPE) == _TOOL

    def instructions(self) -> str:
        """The system's, where an attribute of their own has them."""
        return next((text for key in _INSTRUCTIONS if (text := instructions(_value(self._attributes, key)))), "")

    def side(self, key: str, role: str, system: str = "") -> bool | None:
        """Draws inputs or outputs. Returns whether they are a chat; None: there are none, or nobody may change them."""
        value = None if key in self._sent else _value(self._attributes, key)
        if value in (None, "", [], {}):
            return None
        if not system and is_drawn(value, self._format):
            return True
        if self.is_tool and _is_flat(value):
            return False
        chat = chat_of(value, role)
        if chat is None:
            return False
        if system and system not in (message["content"] for message in chat if message["role"] == "system"):
            chat = [{"role": "system", "content": system}, *chat]
        self._write(key, self._form(value, chat))
        return True

    def wrap(self, key: str, role: str) -> None:
        """The other side is a chat, so a plain value is a message of it."""
        value = _value(self._attributes, key)
        if role == "user" and not isinstance(value, str):
            return
        if role == "assistant" and isinstance(value, str):
            return  # the UI does that by itself
        rest: dict[str, Any] = {}
        text = value if isinstance(value, str) else dumps(value)
        if isinstance(value, dict | list) and self._format in _OPENAI and (said := words_of(value, role)):
            pairs = value.items() if isinstance(value, dict) else ()
            text, rest = said, {name: inner for name, inner in pairs if inner not in (said, None, "", [], {})}
        chat = messages_of({"role": role, "content": text}, role)
        self._write(key, {"messages": chat} | rest if rest else chat)

    def _form(self, value: Any, chat: list[Message]) -> Any:
        if self._format not in _OPENAI or not isinstance(value, dict):
            return chat
        rest = {key: inner for key, inner in value.items() if key not in _READ}
        if any(isinstance(value.get(key), list) for key in ANSWERS):
            choices = [{"index": number, "message": _in_text(message)} for number, message in enumerate(chat)]
            return {"choices": choices} | rest
        return {"messages": chat} | rest

    def _write(self, key: str, value: Any) -> None:
        self._attributes[key] = JsonText.of(dumps_long(value), value)


def _is_flat(value: Any) -> bool:
    """Whether it is an object of plain values, and no message: what a tool is given, or gives."""
    return (
        isinstance(value, dict)
        and not is_message(value)
        and not any(isinstance(inner, list | dict) for inner in value.values())
    )


def is_drawn(value: Any, form: Any) -> bool:
    """Whether MLflow's UI draws these inputs or outputs as a chat, and leaves nothing out. `form`: `mlflow.message.format`."""
    if isinstance(value, list):
        return bool(value) and (all(map(_is_openai, value)) or all(map(_is_genai, value)))
    if not isinstance(value, dict) or form not in _OPENAI or any(value.get(key) for key in SYSTEM):
        return False
    if isinstance(choices := value.get("choices"), list):
        return bool(choices) and all(isinstance(choice, dict) and _is_text(choice.get("message")) for choice in choices)
    messages = value.get("messages")
    return isinstance(messages, list) and bool(messages) and all(map(_is_openai, messages))


def _is_openai(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") not in KNOWN_ROLES:
        return False
    content = message.get("content")
    if not all(map(_is_call, message.get("tool_calls") or ())) or message.get("images"):
        return False
    if content is None and (message.keys() & _ELSEWHERE or any(map(message.get, _INSTEAD))):
        return False
    if isinstance(content, list):
        return all(map(_is_part, content)) and message["role"] != "tool"
    return content is None or isinstance(content, str)


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(call.get("id"), str)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )


def _is_part(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return isinstance(part.get("text"), str)
    inner = part.get(kind) if kind in ("image_url", "input_audio") else None
    if not isinstance(inner, dict):
        return False
    return isinstance(inner.get("url"), str) if kind == "image_url" else inner.get("format") in ("wav", "mp3")


def _is_text(message: Any) -> bool:
    """A message of a choice: the UI takes no parts there."""
    return _is_openai(message) and not isinstance(message.get("content"), list)


def _is_genai(message: Any) -> bool:
    """A message of OpenTelemetry's GenAI conventions, of parts that the UI knows. Of a tool's answers it shows only one."""
    if not isinstance(message, dict) or message.get("role") not in KNOWN_ROLES:
        return False
    parts = message.get("parts")
    if not isinstance(parts, list) or not parts or not all(map(_is_genai_part, parts)):
        return False
    return len(parts) == 1 or all(part["type"] != "tool_call_response" for part in parts)


def _is_genai_part(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return isinstance(part.get("content"), str)
    if kind == "tool_call":  # the UI would show a text's quotes
        return isinstance(part.get("name"), str) and not isinstance(part.get("arguments"), str) and _is_id(part)
    return kind == "tool_call_response" and "response" in part and _is_id(part)


def _is_id(part: Mapping[str, Any]) -> bool:
    return part.get("id") is None or isinstance(part["id"], str)


def _in_text(message: Message) -> Message:
    """The message with its content as one text, images as the UI writes them itself."""
    content = message["content"]
    if not isinstance(content, list):
        return message
    texts = [part["text"] if part["type"] == "text" else _in_markdown(part) for part in content]
    return message | {"content": "\n\n".join(filter(None, texts))}


def _in_markdown(part: Mapping[str, Any]) -> str:
    return f"![]({part['image_url']['url']})" if part["type"] == "image_url" else "[audio]"
