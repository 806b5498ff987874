"""Gemini's generateContent and streamGenerateContent."""

import json
from collections.abc import Iterator
from typing import Any

from fake_models.said import ANSWER_TOKENS, CACHED_TOKENS, PROMPT_TOKENS, REASONING_TOKENS, say, text_of


def answer(asked: dict[str, Any], path: str) -> dict[str, Any]:
    """A response with one candidate."""
    contents = asked["contents"]
    has_result = any("functionResponse" in part for part in contents[-1]["parts"])
    questions = [text_of(content["parts"]).strip() for content in contents if content.get("role", "user") == "user"]
    question = next((text for text in reversed(questions) if text), "")
    tools = [each["name"] for tool in asked.get("tools") or () for each in tool.get("functionDeclarations") or ()]
    said = say(question, tools, has_result)
    part = {"functionCall": {"name": said.tool, "args": dict(said.arguments)}} if said.tool else {"text": said.text}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "modelVersion": path.rpartition("/")[2].partition(":")[0],
        "responseId": f"response-{len(contents)}",
        "usageMetadata": {
            "promptTokenCount": PROMPT_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": ANSWER_TOKENS - REASONING_TOKENS,
            "thoughtsTokenCount": REASONING_TOKENS,
            "totalTokenCount": PROMPT_TOKENS + ANSWER_TOKENS,
        },
    }


def stream(said: dict[str, Any]) -> Iterator[str]:
    """The same as one event."""
    yield f"data: {json.dumps(said)}\r\n\r\n"
