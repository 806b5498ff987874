"""A span with tokens and without a model borrows that of the nearest span above it that states one. No I/O.

Which span that is does not depend on the order in which spans come: only on who is whose parent, and who states a model.
"""

from collections.abc import Mapping

from headrace.mlflow.model import Named, Node, Trace
from headrace.mlflow.model.totals import CALL
from headrace.mlflow.translate.borrowed import cost_of, with_model

_MOST_LEVELS = 64
"""So many spans above it are asked for their model. Agents in agents go a dozen deep; a chain of thousands would be walked once
for each span in it."""


def lend(trace: Trace, known: Mapping[str, Node]) -> None:
    """Gives the spans of this batch that borrow their model, and their cost. `known`: besides them, all their ancestors that
    are there."""
    for span_id, node in [(span_id, node) for span_id, node in trace.nodes.items() if node.borrows and span_id in trace.spans]:
        above, model = _lender(node, known, trace.nodes)
        trace.lenders |= above
        if model is None:
            continue
        trace.spans[span_id] = row = with_model(trace.spans[span_id], model)
        cost, call = cost_of(row), (node.usage or {}).get(CALL)
        trace.nodes[span_id] = node._replace(cost={**cost, CALL: call} if cost and call else cost, borrows=False)


def _lender(node: Node, known: Mapping[str, Node], coming: Mapping[str, Node]) -> tuple[set[str], Named | None]:
    """The spans above it up to the first that states a model, the last of which may not be there; and that model."""
    above: set[str] = set()
    span_id = node.parent_id
    while span_id and span_id not in above and span_id != node.span_id and len(above) < _MOST_LEVELS:
        above.add(span_id)
        found = coming.get(span_id) or known.get(span_id)
        if found is None:
            break
        if found.model is not None:
            return above, found.model
        span_id = found.parent_id
    return above, None
