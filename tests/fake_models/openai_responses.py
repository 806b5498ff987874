"""OpenAI's responses."""

import json
from collections.abc import Iterator
from typing import Any

from fake_models.said import ANSWER_TOKENS, CACHED_TOKENS, PROMPT_TOKENS, REASONING_TOKENS, THOUGHT, Said, say, text_of


def answer(asked: dict[str, Any], _: str) -> dict[str, Any]:
    """A response."""
    items = asked["input"] if isinstance(asked["input"], list) else [{"role": "user", "content": asked["input"]}]
    question = next((text_of(item["content"]) for item in reversed(items) if item.get("role") == "user"), "")
    tools = [tool["name"] for tool in asked.get("tools") or ()]
    said = say(question, tools, items[-1].get("type") == "function_call_output")
    return {
        "id": f"resp_{len(items)}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "metadata": {},
        "model": f"{asked['model']}-2024-07-18",
        "output": [*_thoughts(asked, len(items)), _output(said, len(items))],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": asked.get("tools") or [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": PROMPT_TOKENS,
            "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
            "output_tokens": ANSWER_TOKENS,
            "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
            "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
        },
    }


def _thoughts(asked: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """A summary of the reasoning, if it is asked for."""
    if not (asked.get("reasoning") or {}).get("summary"):
        return []
    return [{"type": "reasoning", "id": f"rs_{number}", "summary": [{"type": "summary_text", "text": THOUGHT}]}]


def _output(said: Said, number: int) -> dict[str, Any]:
    if said.tool:
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
        return {**call, "name": said.tool, "arguments": json.dumps(dict(said.arguments))}
    content = [{"type": "output_text", "text": said.text, "annotations": []}]
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": content}


def stream(said: dict[str, Any]) -> Iterator[str]:
    """The same as events."""
    item = said["output"][-1]
    started = said | {"status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *_deltas(item),
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": said},
    ]
    for number, event in enumerate(events):
        yield f"event: {event['type']}\ndata: {json.dumps(event | {'sequence_number': number})}\n\n"


def _deltas(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = {"item_id": item["id"], "output_index": 0}
    if item["type"] == "function_call":
        yield {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"], "name": item["name"]}
    else:
        (part,) = item["content"]
        yield {"type": "response.content_part.added", **where, "content_index": 0, "part": part | {"text": ""}}
        yield {"type": "response.output_text.delta", **where, "content_index": 0, "delta": part["text"], "logprobs": []}
        yield {"type": "response.output_text.done", **where, "content_index": 0, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **where, "content_index": 0, "part": part}
