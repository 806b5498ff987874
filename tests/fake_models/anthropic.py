"""Anthropic's messages."""

import json
from collections.abc import Iterator
from typing import Any

from fake_models.said import ANSWER_TOKENS, CACHED_TOKENS, PROMPT_TOKENS, THOUGHT, say, text_of


def answer(asked: dict[str, Any], _: str) -> dict[str, Any]:
    """A message."""
    messages = asked["messages"]
    last = messages[-1]["content"]
    has_result = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
    question = next(
        (text for message in reversed(messages) if message["role"] == "user" and (text := text_of(message["content"]).strip())),
        "",
    )
    said = say(question, [tool["name"] for tool in asked.get("tools") or ()], has_result)
    block: dict[str, Any] = {"type": "text", "text": said.text}
    if said.tool:
        block = {"type": "tool_use", "id": f"toolu_{len(messages)}", "name": said.tool, "input": dict(said.arguments)}
    thoughts = [{"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}] if asked.get("thinking") else []
    return {
        "id": f"msg_{len(messages)}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [*thoughts, block],
        "stop_reason": "tool_use" if said.tool else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": PROMPT_TOKENS - CACHED_TOKENS,
            "cache_read_input_tokens": CACHED_TOKENS,
            "cache_creation_input_tokens": 0,
            "output_tokens": ANSWER_TOKENS,
        },
    }


def stream(said: dict[str, Any]) -> Iterator[str]:
    """The same as events."""
    block = said["content"][-1]
    if block["type"] == "text":
        begun, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        begun, delta = block | {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    end = {"stop_reason": said["stop_reason"], "stop_sequence": None}
    for event in (
        {"type": "message_start", "message": said | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": said["usage"]["output_tokens"]}},
        {"type": "message_stop"},
    ):
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
