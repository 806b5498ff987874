"""OTLP attribute values → Python values, exactly: integers stay integers, bytes stay bytes."""

from collections.abc import Iterable
from typing import Any

from headrace.otlp.readable import ReadablePair, ReadableValue


def to_python(value: ReadableValue) -> Any:
    """An `AnyValue` → str, bool, int, float, bytes, list, dict, or None where none is set.

    Equals MLflow's `_decode_otel_proto_anyvalue`, bytes included (MLflow encodes them later, when it dumps JSON).
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
    """Attributes → dict. Keys should be unique (OTLP, common.proto); where they are not, the last one stands."""
    return {pair.key: to_python(pair.value) for pair in pairs}


def to_text(value: Any) -> str:
    """An attribute's value as a person would write it, for names, globs and templates: `true`, `3`, `checkout`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
