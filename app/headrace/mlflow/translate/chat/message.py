"""One message in the form of each library → messages in OpenAI's form, which MLflow's UI draws. No I/O."""

from collections.abc import Iterable
from typing import Any

from headrace.mlflow.json_text import loads
from headrace.mlflow.translate.chat.blocks import ToolCall, as_call, is_block, is_item, kind_of, plain_text, read
from headrace.mlflow.translate.chat.media import Block, Part
from headrace.mlflow.translate.chat.simple import content_of, simple_message

Message = dict[str, Any]
"""`role`, and of `content`, `reasoning`, `tool_calls`, `tool_call_id` and `name` what it has."""

_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "chatbot": "assistant",
    "bot": "assistant",
    "developer": "system",
    "function": "tool",
    "tool_response": "tool",
    "tool_call": "assistant",
}
KNOWN_ROLES = ("user", "assistant", "system", "tool")
"""Roles that MLflow's UI draws."""
_CONTENT = ("content", "parts", "blocks", "_content")
_LANGCHAIN = ("human", "ai", "system", "tool", "function", "chat", "generic")
_PYDANTIC = {"user_prompt": "user", "system_prompt": "system", "instructions": "system"}
_REASONS = ("reasoning_content", "reasoning", "thinking")
_SAID = frozenset({*_CONTENT, "tool_calls", "text", "function_call", *_REASONS})


def role_of(name: Any) -> str:
    """A role that MLflow's UI knows."""
    role = str(name or "user").lower().replace("-", "_").removesuffix("chunk").removesuffix("message")
    role = _ROLES.get(role, role)
    return role if role in KNOWN_ROLES else "user"


def is_message(value: Any) -> bool:
    """Whether a value is a message, of any library."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("kwargs"), dict):
        return "messages" not in value["kwargs"] and ("lc" in value or _says(value["kwargs"]))
    kind = value.get("type")
    if isinstance(value.get("data"), dict) and kind in _LANGCHAIN:
        return True
    if isinstance(value.get("parts"), list) and value.get("kind") in ("request", "response"):
        return True
    named = value.get("role", value.get("_role"))
    return (_says(value) and (isinstance(named, str) or kind in _LANGCHAIN)) or is_item(value)


def _says(value: Block) -> bool:
    return not _SAID.isdisjoint(value) or isinstance(value.get("message"), str)


def messages_of(value: Any, role: str) -> list[Message]:
    """The messages that one of any library becomes. `role`: whose it is if it does not say. Empty: it says nothing."""
    if not isinstance(value, dict):
        return [] if value is None else _Draft(role).add_all([value]).messages()
    if (message := simple_message(value)) is not None:
        return [message]
    if isinstance(kwargs := value.get("kwargs"), dict):  # LangChain's constructors
        names = value.get("id")
        named = kwargs.get("type") or (names[-1] if isinstance(names, list) and names else role)
        return _message(kwargs, role_of(kwargs.get("role") or named))
    if isinstance(data := value.get("data"), dict) and value.get("type") in _LANGCHAIN:
        return _message(data, role_of(data.get("role") or value["type"]))
    if is_item(value):
        return _Draft("assistant").add_all([value]).messages()
    kind = value.get("type")
    named = value.get("role", value.get("_role"))
    if named is None and kind in _LANGCHAIN:
        named = kind
    if named is None and value.get("kind") in ("request", "response"):
        named = "user" if value["kind"] == "request" else "assistant"
    return _message(value, role_of(named) if named is not None else role)


def _message(value: Block, role: str) -> list[Message]:
    draft = _Draft(role, value.get("name"))
    draft.reasoning.extend(filter(None, (_reason(value), _reason(_inside(value, "additional_kwargs")))))
    content = next((found for key in _CONTENT if (found := value.get(key)) is not None), None)
    content = _spoken(value) if content is None else content
    call_id = value.get("tool_call_id") or value.get("toolCallId")
    if role == "tool" and not _holds_results(content):
        answered = call_id or value.get("id") or value.get("name") or ""
        draft.result(str(answered), plain_text(_opened(content)))
        return draft.messages()
    draft.add_all(_blocks(content))
    draft.add_all({"type": "image", "data": image} for image in value.get("images") or () if isinstance(image, str))  # Ollama
    draft.add_calls(value.get("tool_calls"))
    draft.add_calls(_inside(value, "additional_kwargs").get("tool_calls") if not draft.calls else None)
    if not draft.calls and isinstance(legacy := value.get("function_call"), dict):
        draft.add_calls([legacy])
    return draft.messages()


def _spoken(value: Block) -> Any:
    """What a message without content says: a text (of Cohere in `message`), why it says none, what its sound says."""
    for key in ("text", "message", "refusal"):
        if isinstance(text := value.get(key), str):
            return text
    return _inside(value, "audio").get("transcript")


def _blocks(content: Any) -> list[Any]:
    content = _opened(content)
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


def _opened(content: Any) -> Any:
    """Blocks that came as the JSON of a list of them."""
    if isinstance(content, str) and content.startswith("[{") and content.endswith("}]"):
        try:
            blocks = loads(content)
        except (ValueError, RecursionError):
            return content
        if all(map(is_block, blocks)):
            return blocks
    return content


def _holds_results(content: Any) -> bool:
    return isinstance(content, list) and any(read(block).result is not None for block in content)


def _reason(value: Block) -> str:
    return next((text for key in _REASONS if isinstance(text := value.get(key), str)), "")


def _inside(value: Block, key: str) -> Block:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


class _Draft:
    """A message that is being read, block by block. A tool's result ends it, and is a message of its own."""

    def __init__(self, role: str, name: Any = None) -> None:
        self.role = role
        self.name = name if isinstance(name, str) else ""
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []
        self._ids: set[str] = set()
        self._parts: list[Part] = []
        self._done: list[Message] = []

    def add_all(self, blocks: Iterable[Any]) -> "_Draft":
        for block in blocks:
            if isinstance(block, dict) and (role := _PYDANTIC.get(kind_of(block))):
                self._turn_to(role)
                block = {"type": "text", "text": plain_text(_opened(block.get("content")))}  # noqa: PLW2901
            what = read(block)
            if what.part is not None:
                self._parts.append(what.part)
            elif what.call is not None or what.result is not None:
                if what.call is not None:
                    self._add(what.call)
                if what.result is not None:
                    self.result(*what.result)
            elif what.reasoning:
                self.reasoning.append(what.reasoning)
        return self

    def add_calls(self, calls: Any) -> None:
        for call in calls if isinstance(calls, list) else ():
            made = as_call(call) if isinstance(call, dict) else None
            if made and made["id"] not in self._ids:  # it may stand among the blocks, too
                self._add(made)

    def _add(self, call: ToolCall) -> None:
        self.calls.append(call)
        self._ids.add(call["id"])

    def result(self, call_id: str, text: str) -> None:
        self._end()
        self._done.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def messages(self) -> list[Message]:
        self._end()
        return self._done

    def _turn_to(self, role: str) -> None:
        if role != self.role:
            self._end()
            self.role = role

    def _end(self) -> None:
        """Makes a message of what has come."""
        if not (self._parts or self.calls or self.reasoning):
            return
        message: Message = {"role": self.role, "content": content_of(self._parts, alone=not (self.calls or self.reasoning))}
        if self.name:
            message["name"] = self.name
        if self.reasoning:
            message["reasoning"] = "\n\n".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
        self._done.append(message)
        self._parts, self.calls, self.reasoning, self._ids = [], [], [], set()
