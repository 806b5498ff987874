"""Parts → the traces to which they belong, as they shall stand: what a part may not change is refused, the policy decides,
and no trace grows beyond its bound.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.mlflow.fold.policy import FoldPolicy
from headrace.mlflow.keys import SPANS_LOCATION, TRACKING_STORE
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.text import Repairs
from headrace.mlflow.translate.tags import bounded
from headrace.mlflow.write.authority import Authority
from headrace.mlflow.write.figures import read_totals
from headrace.mlflow.write.refuse import refuse, rejected
from headrace.mlflow.write.statements import Rows
from headrace.mlflow.write.stored import read_others, read_words


def check_locations(traces: Mapping[str, Trace], parts: Sequence[TracePart]) -> None:
    """Traces whose spans MLflow has moved to an archive take no more of them."""
    places = {id_: trace.stored_tags.get(SPANS_LOCATION, TRACKING_STORE) for id_, trace in traces.items()}
    moved = {
        id_: f"The spans of trace {id_} are not in the tracking store any more ({place})."
        for id_, place in places.items()
        if place != TRACKING_STORE
    }
    refuse([rejected(part, moved[part.trace_id]) for part in parts if part.trace_id in moved])


def apply_parts(cursor: Rows, traces: dict[str, Trace], parts: Sequence[TracePart], policy: FoldPolicy[Any, Any]) -> None:
    """Applies the parts one by one to the traces that there are; adds those that they create.

    Raises:
        PermanentExportError: names the parts whose senders may not change the trace, as the parts before them have left it.
    """
    authority = Authority(cursor, parts, traces.values())
    refused = []
    for part in parts:
        trace = traces.get(part.trace_id)
        if reason := authority.refusal(part, trace):
            refused.append(rejected(part, reason, part.delivery))
        elif trace is not None:
            policy.apply(trace, part)
        else:
            traces[part.trace_id] = policy.create(part)
    refuse(refused)


def decide(cursor: Rows, traces: Sequence[Trace], policy: FoldPolicy[Any, Any], repaired: Repairs) -> None:
    """Lets the policy decide of each trace, once all parts are applied and what it needs besides is read."""
    read_totals(cursor, [trace for trace in traces if trace.stored and policy.totals_wanted(trace)])
    read_others(cursor, {trace.trace_id: trace for trace in traces if policy.needs_others(trace)}, policy)
    read_words(cursor, traces, policy)
    for trace in traces:
        trace.verdict = policy.decide(trace)
        if trace.verdict and trace.verdict.superseded:
            repaired["unfinished_superseded"] += trace.verdict.superseded
        _bound_tags(trace, repaired)


def _bound_tags(trace: Trace, repaired: Repairs) -> None:
    """However many requests bring tags, the trace has no more than it may."""
    if len(trace.tags) + len(trace.stored_tags) > trace.max_tags:
        decided = trace.verdict.root.tags if trace.verdict and trace.verdict.root else ()
        tags = bounded(trace.tags, trace.stored_tags, decided, trace.max_tags)
        if len(tags) < len(trace.tags):
            repaired["tags_over_limit"] += len(trace.spans)
            trace.tags = tags
