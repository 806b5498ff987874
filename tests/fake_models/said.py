"""What the model says, in no vendor's form."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

THOUGHT = "The picture shows a sun above the sea."
"""What the model thinks, if it is asked to say so."""
ANSWER = "The weather in Paris is sunny, 21 degrees."
PROMPT_TOKENS, CACHED_TOKENS, ANSWER_TOKENS, REASONING_TOKENS = 42, 8, 17, 5


class Said(NamedTuple):
    """A text, or a tool that is to be called."""

    text: str
    tool: str = ""
    arguments: Mapping[str, Any] = MappingProxyType({})


def say(question: str, tools: list[str], has_result: bool) -> Said:
    """What to say.

    `question`: what the user said last. `tools`: the names of the tools that are offered. `has_result`: whether what came
    last is a tool's result.
    """
    city = "Rome" if "Rome" in question else "Paris"
    text = ANSWER.replace("Paris", city)
    if has_result and "final_answer" in tools:
        return Said("", "final_answer", {"answer": text})
    asked = next((tool for tool in tools if "weather" in tool), "")
    return Said(text) if has_result or not asked else Said("", asked, {"city": city})


def text_of(content: Any) -> str:
    """The text of a message, which is one, or a list of parts."""
    if isinstance(content, list):
        return " ".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return str(content.get("text") or "")
    return str(content or "")
