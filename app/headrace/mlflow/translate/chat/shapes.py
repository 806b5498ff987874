"""Inputs and outputs of a span, in the form of each library → the chat in them, if there is one. No I/O.

Known: lists of messages; OpenAI (chat, responses), Anthropic, Bedrock, Gemini, Cohere, Ollama, LangChain and LangGraph,
Vercel AI, Pydantic AI, LlamaIndex, Haystack; what wraps one of these in `inputs`, `outputs`, `request`, `update` and the like.
"""

from typing import Any

from headrace.mlflow.json_text import loads
from headrace.mlflow.translate.chat.blocks import is_block, is_known, read, shown
from headrace.mlflow.translate.chat.chunks import joined_chunks
from headrace.mlflow.translate.chat.joined import joined
from headrace.mlflow.translate.chat.media import Block
from headrace.mlflow.translate.chat.message import Message, is_message, messages_of, role_of
from headrace.mlflow.translate.chat.simple import simple_messages

_DEPTH = 5
"""Wrappers within wrappers that are opened."""
SYSTEM = (
    *("system", "instructions", "system_instruction", "systemInstruction"),
    *("system_instructions", "system_prompt", "systemPrompt", "preamble"),
)
"""Keys of what tells the model how to behave; then of answers, of which there may be several; then of messages."""
ANSWERS = ("choices", "candidates", "generations")
LISTS = ("messages", "contents", "input", "chat_history", "new_messages", "replies")
_HISTORY = "chat_history"
"""Messages of turns before: what was asked now, and answered, stands beside them as a text."""
QUESTIONS = (
    *("question", "query", "user_msg", "user_input", "user_prompt", "prompt", "input", "inputText", "message", "task"),
    *("text", "content"),
)
SAID = (
    *("final_answer", "final_output", "answer", "output_text", "output", "response", "generation", "completion", "result"),
    "raw",
    *("text", "content"),
)
"""Keys of a text that was asked, or answered, whatever stands beside it."""
_REQUEST = frozenset({"model", "modelId", "max_gen_len", "textGenerationConfig"})
"""Keys that only the request of a model has; then those of an answer."""
_ANSWER = frozenset({"finishReason", "finish_reason", "generation_id", "eval_count", "stop_reason", "generation_token_count"})
_WRAPPERS = ("inputs", "outputs", "request", "response", "update", "kwargs", "output", "result", "llm_output", "value")


def chat_of(value: Any, role: str, depth: int = _DEPTH) -> list[Message] | None:
    """The messages in a span's inputs (`role`: `user`) or outputs (`assistant`), parsed. None: there is no chat in them."""
    if depth == 0:
        return None
    if isinstance(value, str) and value[:1] in ("[", "{"):  # JSON within JSON
        value = _opened(value)
    if isinstance(value, list):
        found = _list(value, role, depth)
    elif isinstance(value, dict):
        found = [*messages_of(value, role)] if is_message(value) and not _is_container(value) else _dict(value, role, depth)
    else:
        return None
    return joined(found) if found else None


def _list(items: list[Any], role: str, depth: int) -> list[Message] | None:
    if items and (simple := simple_messages(items)) is not None:
        return simple
    if items and isinstance(items[0], str | list):
        items = [_pair(_opened(item) if isinstance(item, str) and item[:1] == "{" else item) for item in items]
    if items and all(map(is_message, items)):
        return [message for item in items for message in messages_of(item, role)] or [_silent(item, role) for item in items]
    if (chunks := joined_chunks(items)) is not None:
        return [message for item in chunks for message in messages_of(item, "assistant")] or None
    if items and all(map(is_block, items)) and any(map(is_known, items)) and not any(map(_is_container, items)):
        return messages_of({"content": items}, role)
    found: list[Message] = []
    for item in items:  # batches, generations, updates of a graph's nodes
        inner = chat_of(item, role, depth - 1) if isinstance(item, list | dict) else None
        if inner is None and not _is_update(item):
            return None
        found += inner or ()
    return found


def _is_update(item: Any) -> bool:
    """What a node of LangGraph gives beside messages, as `{"supervisor": {"next": "writer"}}`."""
    return isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), dict | None)


_SPEAKERS = ("user", "human", "assistant", "ai", "system")


def _pair(item: Any) -> Any:
    """LangChain's `["user", "Hello"]` as a message."""
    if isinstance(item, list) and len(item) == 2 and item[0] in _SPEAKERS and isinstance(item[1], str | list):
        return {"role": item[0], "content": item[1]}
    return item


def _silent(item: Block, role: str) -> Message:
    """A message that says nothing: it is drawn as such, if it is not among others that say something."""
    named = item.get("role")
    return {"role": role_of(named) if isinstance(named, str) else role, "content": ""}


def _is_container(value: Any) -> bool:
    """Whether it holds messages, rather than being one."""
    return isinstance(value, dict) and (isinstance(value.get("message"), dict) or isinstance(value.get("messages"), list))


def _dict(value: Block, role: str, depth: int) -> list[Message] | None:
    for form in (_answers, _answered, _messages, _message, _vercel, _asked):
        if (found := form(value, role, depth)) is not None:
            return found
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and isinstance(inner.get("messages"), list):
        return _dict(inner, role, depth)  # what a node of LangGraph gives
    return _inside(value, _WRAPPERS, role, depth)


def _answers(value: Block, _: str, depth: int) -> list[Message] | None:
    """Of OpenAI, Gemini and LangChain."""
    for key in ANSWERS:
        if isinstance(answers := value.get(key), list) and answers:
            return _list([_choice(answer) for answer in answers], "assistant", depth)
    return None


def _answered(value: Block, role: str, _: int) -> list[Message] | None:
    """A text beside what only the answer of a model has: of Cohere, Ollama, Llama on Bedrock."""
    if role != "assistant" or _ANSWER.isdisjoint(value) or "toolCalls" in value:
        return None
    return messages_of({"content": text}, role) if (text := said_in(value, role)) else None


def said_in(value: Block, role: str) -> str:
    """The text that was asked or answered, whatever stands beside it. Empty: there is none, or it is not told by its key."""
    for key in QUESTIONS if role == "user" else SAID:
        text = value.get(key)
        if isinstance(text, list) and len(text) == 1:
            text = text[0]
        if isinstance(text, str):
            return text
    return ""


def _messages(value: Block, role: str, depth: int) -> list[Message] | None:
    if isinstance(text := value.get("messages"), str) and text:
        return chat_of(text, role, depth - 1) or [*_system(value), *messages_of(text, role)]
    found = _inside(value, LISTS, role, depth)
    if found and _HISTORY in value and not any(isinstance(value.get(key), list) for key in ("messages", "contents", "input")):
        texts = [(who, said_in(value, who)) for who in ("user", "assistant") if who in ("user", role)]
        found = found + [message for who, text in texts if text for message in messages_of(text, who)]
    return [*_system(value), *found] if found else None


def _message(value: Block, role: str, _: int) -> list[Message] | None:
    """One message, of Ollama, Cohere or Bedrock; an answer of Anthropic; one of Gemini, of several that it could have given."""
    if isinstance(message := value.get("message"), dict):
        return messages_of(message, role)
    if isinstance(content := value.get("content"), dict) and isinstance(content.get("parts"), list):
        return messages_of(content, role)
    if "stop_reason" in value and isinstance(value.get("content"), list):
        return messages_of(value, "assistant")
    return None


def _vercel(value: Block, _: str, __: int) -> list[Message] | None:
    """An answer of Vercel AI."""
    calls = _opened(value.get("toolCalls"))
    if not isinstance(calls, list) and "finishReason" not in value:
        return None
    answer = {"content": value.get("text"), "reasoning": value.get("reasoning"), "tool_calls": calls}
    return messages_of(answer, "assistant")


def _asked(value: Block, role: str, _: int) -> list[Message] | None:
    """A text beside the system's instructions, or the model that is asked, as of OpenAI's responses, Gemini, Vercel AI."""
    for key in ("prompt", "input", "contents", "inputText"):
        if not isinstance(text := value.get(key), str) or not text:
            continue
        if (system := _system(value)) or (role == "user" and not _REQUEST.isdisjoint(value)):
            return [*system, *messages_of(text, "user")]
    return None


def _inside(value: Block, keys: tuple[str, ...], role: str, depth: int) -> list[Message] | None:
    """The chat in the first of these keys that has one."""
    for key in keys:
        inner = value.get(key)
        if isinstance(inner, list | dict) and (found := chat_of(inner, role, depth - 1)):
            return found
    return None


def _opened(value: Any) -> Any:
    """What came as JSON within JSON."""
    try:
        return loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


def _choice(answer: Any) -> Any:
    """One of several answers: what OpenAI, Gemini and LangChain have in it."""
    if isinstance(answer, dict):
        for key in ("message", "delta", "content"):
            if isinstance(inner := answer.get(key), dict):
                return {"role": "assistant"} | dict(inner) if "kwargs" not in inner else inner
        if isinstance(text := answer.get("text"), str):
            return {"role": "assistant", "content": text}
    return answer


def _system(value: Block) -> list[Message]:
    """What tells the model how to behave, where it stands beside the messages."""
    config = value.get("config")
    for key in SYSTEM:
        found = value.get(key) or (config.get(key) if isinstance(config, dict) else None)
        if text := instructions(found):
            return [{"role": "system", "content": text}]
    return []


def instructions(value: Any) -> str:
    """The text of system instructions: a text, blocks, or a message. Empty: there are none."""
    if isinstance(value, dict):
        value = value.get("parts") or value.get("content") or value.get("text")
    if isinstance(value, list) and value and all(map(is_message, value)):
        value = [block for item in value for block in _blocks(item)]
    if isinstance(value, list):
        return "\n\n".join(filter(None, (shown(read(item)) if isinstance(item, dict) else _text(item) for item in value)))
    return _text(value)


def _blocks(message: Block) -> list[Any]:
    content = message.get("content") or message.get("parts")
    return content if isinstance(content, list) else [content]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
