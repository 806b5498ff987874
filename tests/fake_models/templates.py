"""Answers in a template that a framework asks for in words, and not by the model's own calls of tools."""

import re

from fake_models.said import ANSWER

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")


def templated(instructions: str, question: str) -> str:
    """The answer in DSPy's template. Empty: nobody asked for it."""
    fields = list(dict.fromkeys(_FIELD.findall(instructions.partition("outputs will be")[2] or instructions)))
    if not fields:
        return ""
    has_result = "sunny" in question
    values = {
        "next_thought": "I have to look." if not has_result else "I know it.",
        "next_tool_name": "finish" if has_result else "get_weather",
        "next_tool_args": "{}" if has_result else '{"city": "Paris"}',
        "reasoning": "The tool said so.",
        "answer": ANSWER,
    }
    written = [f"[[ ## {field} ## ]]\n{values[field]}" for field in fields if field in values]
    return "\n\n".join([*written, "[[ ## completed ## ]]"])
