"""Definitions of tools, in the form of OpenAI's chat, which MLflow's UI draws. No I/O."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from headrace.mlflow.json_text import JsonText, dumps
from headrace.mlflow.translate.dialects.engine import loaded
from headrace.mlflow.translate.dialects.table import Rule

_WRAPPERS = ("tool", "json_schema", "toolSpec", "function", "data")
"""What a dialect wraps a definition in."""
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "json_schema", "schema")
"""Where a definition has the schema of its arguments."""
_MAX_REMEMBERED = 16 * 1024
"""Characters of definitions that are remembered."""


def tools_as_sent(rule: Rule, attributes: Mapping[str, Any]) -> JsonText | None:
    """The tools that a rule finds in an attribute, if it takes them as they were sent, and they are not too long.

    An agent sends the same with each call: what is returned is shared, and may only be read. Its value is None where there are
    no tools.
    """
    text = attributes.get(rule.key) if rule.is_as_sent else None
    return _remembered(text) if isinstance(text, str) and 0 < len(text) <= _MAX_REMEMBERED else None


@lru_cache(maxsize=128)
def _remembered(text: str) -> JsonText:
    value = definitions(loaded(text))
    return JsonText.of(dumps(value), value)


def definitions(value: Any) -> list[dict[str, Any]] | None:
    """A list of definitions in any dialect's form, or of the tools' names → the same in OpenAI's. None: there is none."""
    tools = [tool for item in (value if isinstance(value, list) else [value]) if (tool := _definition(item))]
    return tools or None


def _definition(raw: Any) -> dict[str, Any] | None:
    if isinstance(raw, str):
        return {"type": "function", "function": {"name": raw}}
    for wrapper in _WRAPPERS:
        if isinstance(raw, dict) and isinstance(raw.get(wrapper), dict) and "name" not in raw:
            raw = raw[wrapper]
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        return None
    function = {"name": raw["name"]}
    if raw.get("description"):
        function["description"] = raw["description"]
    for key in _SCHEMAS:
        if isinstance(schema := raw.get(key), dict):
            function["parameters"] = schema.get("json", schema)
            break
    return {"type": "function", "function": function}
