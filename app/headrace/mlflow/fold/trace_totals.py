"""The totals of a trace over all its spans, where the order of spans does not count. No I/O."""

from headrace.mlflow.fold.lending import lend
from headrace.mlflow.fold.totals import columns_of, cost_columns, merged, token_columns
from headrace.mlflow.fold.trees import totals_of
from headrace.mlflow.model import Node, Trace, TracePart


def has_figures(part: TracePart) -> tuple[bool, bool]:
    """Whether any of its spans has token usage, and costs."""
    nodes = part.nodes.values()
    return any(node.usage is not None for node in nodes), any(node.cost is not None for node in nodes)


def take_totals(trace: Trace) -> None:
    """The totals of all spans. Where no span has a figure any more, what is there stands."""
    if trace.totals is None:
        lend(trace, trace.nodes)
        try:
            trace.totals = totals_of(trace.nodes.values())
        except (ValueError, OverflowError):  # figures that are no finite numbers, which nobody can add exactly
            add_totals(trace, tokens=True, costs=True)
            return
    tokens, costs = columns_of(trace.totals)
    trace.tokens = tokens if trace.totals.usage.seen else trace.tokens
    trace.costs = costs if trace.totals.cost.seen else trace.costs


def add_totals(trace: Trace, tokens: bool, costs: bool) -> None:
    """Makes the totals anew over all spans, which are the whole truth.

    Also where the last span of a parent cycle came, of which nothing is counted. Where no span has a figure any more, what is
    there stands.
    """
    if not (tokens or costs):
        return
    nodes: list[Node] = sorted(trace.nodes.values())  # sums of floats depend on their order
    if tokens:
        found = token_columns(nodes)
        trace.tokens = found if any(node.usage is not None for node in nodes) else merged(trace.tokens, found)
    if costs:
        figures = cost_columns(nodes)
        trace.costs = figures if any(node.cost is not None for node in nodes) else merged(trace.costs, figures)
