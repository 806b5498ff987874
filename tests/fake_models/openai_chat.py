"""OpenAI's chat completions and embeddings."""

import json
from collections.abc import Iterator
from typing import Any

from fake_models.said import ANSWER_TOKENS, CACHED_TOKENS, PROMPT_TOKENS, REASONING_TOKENS, Said, say, text_of
from fake_models.templates import templated

_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
    "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    "completion_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
}


def answer(asked: dict[str, Any], _: str) -> dict[str, Any]:
    """A chat completion."""
    said = _said(asked)
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.tool:
        number = sum(1 for message in asked["messages"] if message["role"] == "tool") + 1
        function = {"name": said.tool, "arguments": json.dumps(dict(said.arguments))}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {
        "id": f"chatcmpl-{len(asked['messages'])}",
        "object": "chat.completion",
        "created": 1,
        "model": f"{asked['model'].rpartition('/')[2]}-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if said.tool else "stop"}],
        "usage": _USAGE,
    }


def _said(asked: dict[str, Any]) -> Said:
    messages = asked["messages"]
    question = next((text_of(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
    if fields := templated(text_of(messages[0]["content"]), question):
        return Said(fields)
    tools = [tool["function"]["name"] for tool in asked.get("tools") or ()]
    last = messages[-1]
    return say(question, tools, last["role"] in ("tool", "function") or "sunny, 21" in text_of(last["content"]))  # smolagents


def stream(said: dict[str, Any]) -> Iterator[str]:
    """The same in chunks."""
    (choice,) = said["choices"]
    delta = dict(choice["message"])
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": 0, **call} for call in delta["tool_calls"]]
    head = {"id": said["id"], "object": "chat.completion.chunk", "created": 1, "model": said["model"]}
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    ends = [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]
    for chunk in ({"choices": choices}, {"choices": ends}, {"choices": [], "usage": said["usage"]}):
        yield f"data: {json.dumps(head | chunk)}\n\n"
    yield "data: [DONE]\n\n"


def embed(asked: dict[str, Any], _: str) -> dict[str, Any]:
    """Embeddings."""
    texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    data = [{"object": "embedding", "index": index, "embedding": [0.25, 0.5]} for index in range(len(texts))]
    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}
