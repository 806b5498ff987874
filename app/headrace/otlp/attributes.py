"""OTLP attribute values → Python values, without loss: integers stay integers, bytes stay bytes. Pure."""

from collections.abc import Iterable
from typing import Any

from headrace.otlp.readable import ReadablePair, ReadableValue


def to_python(value: ReadableValue) -> Any:
    """An `AnyValue` → str, bool, int, float, bytes, list or dict. None: it has no value.

    The result equals that of MLflow's `_decode_otel_proto_anyvalue`. Bytes stay bytes there, too: MLflow encodes them later,
    when it writes JSON.
    """
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [to_python(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: to_python(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def to_dict(pairs: Iterable[ReadablePair]) -> dict[str, Any]:
    """Attributes → dict. OTLP asks for unique keys (common.proto). If a key occurs twice, the later value wins."""
    return {pair.key: to_python(pair.value) for pair in pairs}


def to_text(value: Any) -> str:
    """An attribute's value → its text for names, globs and templates: `true`, `3`, `checkout`. None becomes an empty text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
