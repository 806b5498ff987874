"""An answer that came in pieces, as a stream gives it, → the whole answer. No I/O.

Known: the pieces of OpenAI (chat, responses), Anthropic, Bedrock's Converse, Gemini and Ollama.
"""

from typing import Any

from headrace.mlflow.translate.chat.media import Block

_REASONING = ("reasoning_content", "reasoning", "thinking")
_WHOLE = "response.completed"


def joined_chunks(items: list[Any]) -> list[Block] | None:
    """The messages of which these are pieces, in the form of OpenAI's chat. None: they are no pieces."""
    if len(items) < 2 or not all(isinstance(item, dict) for item in items):
        return None
    whole = next((item["response"] for item in reversed(items) if item.get("type") == _WHOLE and "response" in item), None)
    if isinstance(whole, dict) and isinstance(whole.get("output"), list):
        return list(whole["output"])
    answer, pieces = _Answer(), 0
    for item in items:
        pieces += answer.add(item)
    return [answer.message()] if pieces else None


class _Answer:
    """What has come of an answer."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[Any, dict[str, Any]] = {}

    def add(self, item: Block) -> bool:
        """Adds a piece. Returns whether it is one."""
        if item.get("type") == "response.output_text.delta":
            return self._say(item.get("delta"))
        for key in ("choices", "candidates"):
            if isinstance(choices := item.get(key), list):
                first = choices[0] if choices and isinstance(choices[0], dict) else {}
                return self._delta(first.get("delta")) or self._parts(first.get("content"))
        if isinstance(message := item.get("message"), dict) and "done" in item:  # Ollama
            return self._delta(message)
        return self._block(item)

    def _block(self, item: Block) -> bool:
        """Of Anthropic and Bedrock, who begin each block, and then add to it."""
        if isinstance(block := item.get("content_block"), dict):
            return self._begin(item.get("index"), block, "input")
        if isinstance(block := item.get("contentBlockStart"), dict):
            start = block.get("start")
            return self._begin(
                block.get("contentBlockIndex"), start.get("toolUse") if isinstance(start, dict) else None, "input"
            )
        if isinstance(block := item.get("contentBlockDelta"), dict):
            return self._delta(block.get("delta"), block.get("contentBlockIndex"))
        return self._delta(item.get("delta"), item.get("index"))

    def message(self) -> Block:
        """The whole."""
        said = {"content": "".join(self._text) or None, "reasoning": "".join(self._reasoning) or None}
        calls = [{"id": call["id"], "function": call} for call in self._calls.values() if call["name"]]
        return {"role": "assistant", **said, "tool_calls": calls}

    def _say(self, text: Any) -> bool:
        if isinstance(text, str):
            self._text.append(text)
        return isinstance(text, str)

    def _delta(self, delta: Any, index: Any = None) -> bool:
        if not isinstance(delta, dict):
            return False
        self._say(delta.get("content")) or self._say(delta.get("text"))
        self._reasoning += [text for key in _REASONING if isinstance(text := delta.get(key), str)][:1]
        calls = delta.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
                self._begin(call.get("index", number), {"id": call.get("id")} | function, "arguments")
        use = delta.get("toolUse")
        more = use.get("input") if isinstance(use, dict) else delta.get("partial_json")
        if isinstance(more, str):
            self._begin(index, {"arguments": more}, "arguments")
        return True

    def _begin(self, index: Any, block: Any, arguments: str) -> bool:
        """A call, or what is added to one; or a block that has a text already."""
        if not isinstance(block, dict):
            return False
        if block.get("type") in ("text", "thinking"):
            return self._delta(block)
        call = self._calls.setdefault(str(index), {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or str(block.get("id") or block.get("toolUseId") or "")
        call["name"] = call["name"] or str(block.get("name") or "")
        more = block.get(arguments)
        call["arguments"] += more if isinstance(more, str) else ""
        return True

    def _parts(self, content: Any) -> bool:
        """Gemini's."""
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list):
            return False
        for part in parts:
            if isinstance(part, dict) and isinstance(call := part.get("functionCall", part.get("function_call")), dict):
                number = len(self._calls)
                self._calls[str(number)] = {"id": "", "name": str(call.get("name", "")), "arguments": call.get("args") or {}}
            elif isinstance(part, dict) and isinstance(text := part.get("text"), str):
                (self._reasoning if part.get("thought") is True else self._text).append(text)
        return True
