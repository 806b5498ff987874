"""Definitions of tools, in the form of OpenAI's chat, which MLflow's UI draws. Pure; no I/O."""

from typing import Any

_WRAPPERS = ("tool", "json_schema", "toolSpec", "function", "data")
"""What a dialect wraps a definition in."""
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "json_schema", "schema")
"""Where a definition has the schema of its arguments."""


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
