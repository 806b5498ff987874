"""One block of a message's content, in the form of each library → text, reasoning, a tool call, its result, or media. No I/O.

Known: OpenAI (chat, responses), GenAI parts, Anthropic, Bedrock, Gemini, LangChain, LlamaIndex, Vercel AI, Pydantic AI,
Haystack, Genkit.
"""

from typing import Any, NamedTuple

from headrace.mlflow.json_text import dumps_long
from headrace.mlflow.translate.chat.media import MADE_IMAGE, MEDIA, Block, Part, media_of, text_part

ToolCall = dict[str, Any]

_TEXTS = frozenset({"text", "input_text", "output_text", "summary_text", "refusal", "markdown"})
_REASONING = frozenset({"reasoning", "thinking", "redacted_thinking", "reasoning_content", "thought", "compaction"})
_CALLS = frozenset({"tool_call", "tool_use", "function_call", "custom_tool_call", "builtin_tool_call", "mcp_approval_request"})
_RESULTS = frozenset(
    {"tool_call_response", "tool_result", "function_call_output", "function_response", "tool_return", "tool_response"}
    | {"custom_tool_call_output", "builtin_tool_return", "retry_prompt"}
)
_OWN_CALLS = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "computer_call", "mcp_call", "local_shell_call"}
    | {"shell_call", "apply_patch_call", "tool_search_call", "server_tool_call"}
)
"""Calls that the provider runs itself: of OpenAI's responses, and of the GenAI conventions."""
_CALL_END, _RESULT_ENDS = "_tool_use", ("_tool_result", "_tool_call_response", "_call_output")
"""Ends of the types of others, and of the results of all."""
_WRAPPED_CALLS = ("toolUse", "functionCall", "function_call", "tool_call", "toolCall", "toolRequest")
_WRAPPED_RESULTS = ("toolResult", "functionResponse", "function_response", "tool_call_result", "toolCallResult", "toolResponse")
_CALL_KEYS, _RESULT_KEYS = frozenset(_WRAPPED_CALLS), frozenset(_WRAPPED_RESULTS)
_CODE, _CODE_RESULTS = ("executableCode", "executable_code"), ("codeExecutionResult", "code_execution_result")
"""Code that Gemini wrote and ran, and what came of it."""
_MARKS = (
    _CALL_KEYS | _RESULT_KEYS | {"reasoning", "reasoningContent", "reasoning_content", "thought"} | {*_CODE, *_CODE_RESULTS}
)
"""Keys by which a block without a type is a call, a result or reasoning."""
_BLOCK_KEYS = _CALL_KEYS | _RESULT_KEYS | {"text", "image", "media", "reasoning"}
_IDS = ("call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "ref", "id")
_NAMES = ("name", "tool_name", "toolName")
_ARGUMENTS = ("arguments", "input", "args", "tool_arguments", "tool_kwargs", "parameters", "action", "queries", "code")
_ANSWERS = ("response", "result", "output", "content", "return_value", "server_tool_call_response", "outputs", "results")
_NOTHING = ("cachePoint", "cache_control_marker", "step-start", "step_start", "mcp_list_tools", "item_reference")
_TEXT_KEYS = frozenset({"type", "text", "content", "refusal"})


class Read(NamedTuple):
    """What a block is: one of these, or a call with its result."""

    part: Part | None = None
    reasoning: str = ""
    call: ToolCall | None = None
    result: tuple[str, str] | None = None
    """The id of the call that is answered, and the answer."""


def read(block: Any) -> Read:
    """One block. What nobody knows becomes a text: its own, or its JSON."""
    if not isinstance(block, dict):
        return Read() if block is None else Read(text_part(text_of(block)))
    kind = kind_of(block)
    if kind in _NOTHING or (len(block) == 1 and next(iter(block)) in _NOTHING):
        return Read()
    if (kind and kind not in _TEXTS) or not _MARKS.isdisjoint(block):
        reasoning, call, result = _reasoning(kind, block), call_of(block, kind), _result(kind, block)
        if reasoning is not None or call is not None or result is not None:
            return Read(None, reasoning or "", call, result)
    return Read(_text_block(kind, block) or media_of(block) or text_part(_unknown(block)))


def _text_block(kind: str, block: Block) -> Part | None:
    if kind and kind not in _TEXTS:
        return None
    text = block.get("text", block.get("content", block.get("refusal")))
    if isinstance(text, dict):
        text = text.get("value")
    if text is None and kind and block.keys() <= _TEXT_KEYS:
        text = ""
    return text_part(text) if isinstance(text, str) else None


def kind_of(block: Block) -> str:
    """The type that a block says it has, with underscores. Empty: it says none."""
    kind = block.get("type") or block.get("part_kind") or block.get("block_type") or block.get("kind")
    return kind.replace("-", "_") if isinstance(kind, str) else ""


def is_block(value: Any) -> bool:
    """Whether a value of a list is a block of content, and no message."""
    if not isinstance(value, dict) or "role" in value:
        return False
    return bool(kind_of(value)) or not _BLOCK_KEYS.isdisjoint(value)


def is_known(value: Block) -> bool:
    """Whether a block says something in words, or is of a type that one of the libraries has: no record of somebody else's."""
    kind = kind_of(value)
    if not kind or kind in _TEXTS or kind in MEDIA or kind in _CALLS:
        return True
    return is_item(value) or isinstance(value.get("text", value.get("content")), str)


def is_item(value: Block) -> bool:
    """Whether it stands among messages, and is none: a call, a result or reasoning, as in OpenAI's responses."""
    kind = kind_of(value)
    if not kind or "role" in value:
        return False
    if kind in _CALLS:
        return bool(_any(value, _NAMES))
    if kind in _REASONING or kind in _RESULTS or kind in _NOTHING:
        return True
    own = kind in _OWN_CALLS or kind == MADE_IMAGE or kind.endswith((_CALL_END, *_RESULT_ENDS))
    return own and bool(_any(value, _IDS))


def call_of(block: Block, kind: str = "") -> ToolCall | None:
    """A tool call of any library, `{"id", "function": {"name", "arguments"}}`, in OpenAI's form."""
    inner: Block | None = block if kind in _CALLS else None
    if inner is None and not _CALL_KEYS.isdisjoint(block):
        inner = _wrapped(block, _WRAPPED_CALLS)
    return _own_call(block, kind) if inner is None else as_call(inner)


def _own_call(block: Block, kind: str) -> ToolCall | None:
    """A call that the provider runs itself. Its type, or else its place, is its name."""
    if code := _wrapped(block, _CODE):
        return as_call({"name": "code_execution", "arguments": code})
    if kind not in _OWN_CALLS and not kind.endswith(_CALL_END):
        return None
    name = _any(block, _NAMES) or kind.removesuffix("_call").removesuffix(_CALL_END)
    inner = block.get(kind)  # of the GenAI conventions
    if isinstance(inner, dict) and "arguments" not in block:
        told = inner.get("arguments", {key: value for key, value in inner.items() if key != "type"})
        return as_call({"id": _any(block, _IDS) or None, "name": name, "arguments": told})
    return as_call({**block, "name": name})


def _wrapped(block: Block, names: tuple[str, ...]) -> Block | None:
    """What stands under the first of these keys that has an object."""
    return next((found for name in names if isinstance(found := block.get(name), dict)), None)


def as_call(inner: Block) -> ToolCall | None:
    """The same of what is known to be one. None: it has no name."""
    function = inner.get("function")
    function = function if isinstance(function, dict) else inner
    name = _any(function, _NAMES) or _any(inner, _NAMES)
    if not isinstance(name, str) or not name:
        return None
    arguments = _any(function, _ARGUMENTS, {})
    call_id = _any(inner, _IDS) or name
    return {"id": str(call_id), "type": "function", "function": {"name": name, "arguments": text_of(arguments)}}


def _reasoning(kind: str, block: Block) -> str | None:
    inner = block.get("reasoningContent", block.get("reasoning_content"))  # Bedrock
    if isinstance(inner, dict):
        text = inner.get("reasoningText", inner)
        return plain_text(text.get("text", "") if isinstance(text, dict) else text)
    if kind in _REASONING:
        return plain_text(_any(block, ("content", "text", "thinking", "reasoning", "summary")))
    if not kind and isinstance(text := block.get("reasoning"), str) and "text" not in block:  # Genkit
        return text
    if block.get("thought") is True and isinstance(text := block.get("text"), str):  # Gemini
        return text
    return None


def _result(kind: str, block: Block) -> tuple[str, str] | None:
    inner: Block | None = block if kind in _RESULTS or kind.endswith(_RESULT_ENDS) else None
    if inner is None and not _RESULT_KEYS.isdisjoint(block):
        inner = _wrapped(block, _WRAPPED_RESULTS)
    if inner is None and (code := _wrapped(block, _CODE_RESULTS)):
        inner = {"id": "code_execution", "output": code.get("output")}
    if inner is None and kind in _OWN_CALLS:
        inner = block if _any(block, ("output", "outputs", "results")) else None
    if inner is None:
        return None
    origin = inner.get("origin")  # Haystack
    call_id = _any(inner, _IDS) or (_any(origin, _IDS) if isinstance(origin, dict) else "") or _any(inner, _NAMES)
    return str(call_id), plain_text(_any(inner, _ANSWERS))


def plain_text(value: Any) -> str:
    """What a value says in words: a text, the texts of blocks, what `{"type": "text", "value": …}` wraps; else its JSON."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].keys() == {"json"}:  # Bedrock
        value = value[0]["json"]
    if isinstance(value, list) and value and all(map(is_block, value)):
        return "\n".join(filter(None, (shown(read(block)) for block in value)))
    if isinstance(value, dict) and value.keys() == {"type", "value"}:  # Vercel AI
        return plain_text(value["value"])
    if isinstance(value, dict) and isinstance(text := value.get("text"), str) and len(value) <= 2:
        return text
    return "" if value is None or value in ([], {}) else text_of(value)


def shown(what: Read) -> str:
    """A block in words."""
    if what.part is not None:
        return str(what.part["text"]) if what.part["type"] == "text" else f"[{what.part['type'].removesuffix('_url')}]"
    return what.reasoning or (what.result[1] if what.result else "")


def text_of(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps_long(value)


def _any(block: Block, keys: tuple[str, ...], otherwise: Any = "") -> Any:
    """The first of these that has a value."""
    for key in keys:
        if (value := block.get(key)) is not None:
            return value
    return otherwise


def _unknown(block: Block) -> str:
    for key in ("text", "content"):
        if isinstance(text := block.get(key), str):
            return text
    return text_of(block)
