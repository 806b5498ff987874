"""How a dialect writes a value down, undone: each function takes an attribute's value and gives a target's. Pure; no I/O.

A table names them with `form`. Each returns None where the value is not of that form: then the rule has found nothing.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from headrace.mlflow.translate.dialects.messages import from_events, text_of

_MAX_LITERAL = 64 * 1024
"""Characters of a Python literal that is read: to read one takes many times the time and the memory of JSON."""

_TEXTS = re.compile(r"""\b(?:user_msg|text)=(['"])(.*?)(?:\1[,)\]]|$)""", re.DOTALL)
"""A text in what Python shows of an object. It may be cut at its end."""


def _events_in(value: Any) -> Any:
    """A list of GenAI events → the messages that were sent to the model."""
    return from_events(value)[0] or None


def _events_out(value: Any) -> Any:
    """A list of GenAI events → the messages with which it answered."""
    return from_events(value)[1] or None


def _asked(value: Any) -> Any:
    """A whole chat → all that came before the assistant's last messages."""
    if not isinstance(value, list):
        return value
    end = len(value)
    while end and isinstance(value[end - 1], dict) and value[end - 1].get("role") == "assistant":
        end -= 1
    return value[:end] or None


def _answered(value: Any) -> Any:
    """A whole chat → the assistant's last message."""
    last = value[-1] if isinstance(value, list) and value else None
    return [last] if isinstance(last, dict) and last.get("role") == "assistant" else None


def _arguments(value: Any) -> Any:
    """A call's `{"args": […], "kwargs": {…}}` → its only argument, or those that have names. Of both kinds: nothing."""
    args, kwargs = (value.get("args"), value.get("kwargs")) if isinstance(value, dict) else (None, None)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return None
    if not args:
        return kwargs
    return args[0] if len(args) == 1 and not kwargs else None


def _json(value: Any) -> Any:
    """JSON that is a text, once or twice, alone or in a list, → what it says. Any other text is itself."""
    if isinstance(value, list):
        return [_json(item) for item in value]
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            break
    return value


def _python(value: Any) -> Any:
    """A Python literal, `{'role': 'user'}`, → what it says. JSON, which has come as a value already, is itself."""
    if not isinstance(value, str):
        return value
    if len(value) <= _MAX_LITERAL:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(value)
    return None


def _before_dot(value: Any) -> Any:
    """`openai.chat` → `openai`."""
    return value.partition(".")[0] if isinstance(value, str) else None


def _before_slash(value: Any) -> Any:
    """`openai/gpt-4o` → `openai`; a text without a slash says nothing."""
    before, slash, _ = value.partition("/") if isinstance(value, str) else ("", "", "")
    return before if slash else None


def _lower(value: Any) -> Any:
    """`OpenAI` → `openai`."""
    return value.lower() if isinstance(value, str) else None


def _joined(value: Any) -> Any:
    """A list of texts, or the JSON of one, → one text, with commas."""
    value = _json(value)
    return ", ".join(map(text_of, value)) if isinstance(value, list) else value


def _calls(value: Any) -> Any:
    """A list of tool calls → a message of the assistant with them."""
    calls = _json(value)
    return [{"role": "assistant", "tool_calls": calls}] if isinstance(calls, list) and calls else None


def _said(value: Any) -> Any:
    """`StopEvent(result=…, text='Hello')`, how Python shows an object, → the last text in it. Without one it is itself."""
    found = _TEXTS.findall(value) if isinstance(value, str) else None
    return found[-1][1] if found else value


def _split(value: Any) -> Any:
    """`get_weather,get_time` → a list of the texts between the commas."""
    return [text for part in value.split(",") if (text := part.strip())] if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """A model's answer → a message of the assistant."""
    return [{"role": "assistant", "content": text_of(value)}] if value else None


FORMS: Mapping[str, Callable[[Any], Any]] = {
    "answered": _answered,
    "arguments": _arguments,
    "asked": _asked,
    "before_dot": _before_dot,
    "before_slash": _before_slash,
    "calls": _calls,
    "events_in": _events_in,
    "events_out": _events_out,
    "joined": _joined,
    "json": _json,
    "lower": _lower,
    "python": _python,
    "said": _said,
    "split": _split,
    "text": _text,
}
"""By the name that a table gives them."""
