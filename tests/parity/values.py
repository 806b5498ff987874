"""A difference between two databases → the values that differ in it: of a span's content, each attribute by itself."""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.compare import Difference

USAGE, COST, MODEL = "mlflow.chat.tokenUsage", "mlflow.llm.cost", "mlflow.llm.model"
_PROVIDER, _TYPE, _INPUTS, _OUTPUTS = "mlflow.llm.provider", "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs"
TOKENS, COSTS = "mlflow.trace.tokenUsage", "mlflow.trace.cost"
"""Keys of a trace's metadata."""
_COST_COLUMNS = ("input_cost", "output_cost", "total_cost")

_FROM_SPAN = {
    COST: (USAGE, MODEL, _TYPE),
    "dimension_attributes": (MODEL, _PROVIDER),
    "model_name": (MODEL,),
    "model_provider": (_PROVIDER,),
    "type": (_TYPE,),
    **dict.fromkeys((f"span {name}" for name in _COST_COLUMNS), (COST,)),
}
"""What MLflow works out → the attributes of the same span that it is made of."""
_FROM_TRACE = {
    "request_preview": (_INPUTS,),
    "response_preview": (_OUTPUTS,),
    TOKENS: (USAGE,),
    COSTS: (COST,),
    **dict.fromkeys(_COST_COLUMNS, (COST,)),
}
"""The same of any span of the trace. Names that end in `_tokens` come from `USAGE`."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value that differs. `left` is MLflow's, `right` ours; None where there is none."""

    name: str
    """Of an attribute, a key of metadata or metrics, or a column."""
    left: Any
    right: Any
    trace_id: str = ""
    span_id: str = ""
    attribute: bool = False
    span: Mapping[str, Any] = field(default_factory=dict)
    """Of an attribute: all attributes of the span, ours and MLflow's."""

    @property
    def source(self) -> tuple[str, str, str]:
        """Where it stands."""
        return self.trace_id, self.span_id, self.name

    def follows(self, changed: Collection[tuple[str, str, str]]) -> bool:
        """Whether it is made of attributes that differ, too."""
        name = f"span {self.name}" if self.span_id and self.name in _COST_COLUMNS else self.name
        if any((self.trace_id, self.span_id, source) in changed for source in _FROM_SPAN.get(name, ())):
            return True
        sources = (USAGE,) if name.endswith("_tokens") else _FROM_TRACE.get(name, ())
        return any(trace_id == self.trace_id and source in sources for trace_id, _, source in changed)


ESCAPES = "(escapes)"
"""The name of the value where all that differs is how text is escaped."""


def values_of(one: Difference) -> list[Value]:
    """The values that differ, at least one."""
    span_id = str(one.key[1]) if one.table in ("spans", "span_metrics") else ""
    place = one.trace_id or "", span_id
    if one.table == "spans" and one.column == "content":
        return list(_of_content(_parsed(one.left), _parsed(one.right), place))
    if one.table in ("trace_metrics", "span_metrics", "trace_request_metadata"):
        left, right = (
            side.get("value") if isinstance(side, dict) else None if side == "(no row)" else side
            for side in (one.left, one.right)
        )
        left, right = _parsed(left), _parsed(right)
        return [] if _close(left, right) else [Value(str(one.key[-1]), left, right, *place)]
    return [Value(one.column, one.left, one.right, *place)]


def _of_content(left: Any, right: Any, place: tuple[str, str]) -> Iterator[Value]:
    both = {key for key in {*left, *right} if key != "attributes" and left.get(key) != right.get(key)}
    yield from (Value(key, left.get(key), right.get(key), *place) for key in sorted(both))
    lefts, rights = left.get("attributes", {}), right.get("attributes", {})
    span = {key: _twice(text) for key, text in {**lefts, **rights}.items()}
    found = [key for key in sorted({*lefts, *rights}) if not _same(key, lefts, rights)]
    for key in found:
        yield Value(key, _twice(lefts.get(key)), _twice(rights.get(key)), *place, True, span)
    if not both and not found:
        yield Value(ESCAPES, None, None, *place)


def _same(key: str, lefts: Mapping[str, Any], rights: Mapping[str, Any]) -> bool:
    """As JSON, in which NaN is like NaN."""
    if key not in lefts or key not in rights:
        return False
    left, right = (json.dumps(_twice(side[key]), sort_keys=True) for side in (lefts, rights))
    return left == right


def _twice(text: Any) -> Any:
    """The value of an attribute: its JSON may hold a text that is JSON itself."""
    return _parsed(_parsed(text))


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _close(left: Any, right: Any) -> bool:
    """Whether sums of costs differ in their last digit alone: MLflow adds them in the order in which Postgres returns spans."""
    if not (isinstance(left, dict) and isinstance(right, dict)) or left.keys() != right.keys():
        return False
    return all(
        isinstance(left[key], float) and isinstance(right[key], float) and math.isclose(left[key], right[key], rel_tol=1e-12)
        for key in left
    )
