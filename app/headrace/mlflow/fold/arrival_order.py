"""MLflow's own outcome: of what spans say of their trace the first that comes counts, or the last. No I/O."""

from collections.abc import Collection, Mapping
from contextlib import suppress

from headrace.mlflow.fold.policy import UNFINISHED, apply_common, begin
from headrace.mlflow.fold.totals import cost_columns, cost_of, is_known, merged, preview, token_columns, usage_of
from headrace.mlflow.model import Root, StoredTrace, Trace, TracePart
from headrace.mlflow.translate.values import ArrivalValues

_Part = TracePart[ArrivalValues]
_Trace = Trace[None]


class ArrivalOrder:
    """A `FoldPolicy`. The same spans in another order may make another trace."""

    enriches = False
    may_move = False

    def values(self) -> ArrivalValues:
        """See `FoldPolicy`."""
        return ArrivalValues()

    def create(self, part: _Part) -> _Trace:
        """See `FoldPolicy`."""
        trace = begin(part, None)
        self.apply(trace, part)
        return trace

    def open(self, stored: StoredTrace) -> _Trace:
        """See `FoldPolicy`."""
        return Trace.known(stored, None)

    def roots_wanted(self, spans: int) -> int:  # noqa: ARG002 - none, however many
        """See `FoldPolicy`."""
        return 0

    def take_stored_roots(self, trace: _Trace, roots: Mapping[str, Root]) -> None:
        """Nothing: roots that are there have had their say."""

    def take_whole(self, trace: _Trace, span_id: str) -> None:
        """Nothing: MLflow knows no such copies, and without enrichment there are none."""

    def needs_nodes(self, trace: _Trace, part: _Part) -> bool:  # noqa: ARG002 - MLflow looks at the part alone
        """See `FoldPolicy`."""
        return any(node.usage is not None or node.cost is not None for node in part.nodes.values())

    def apply(self, trace: _Trace, part: _Part) -> None:
        """See `FoldPolicy`."""
        usage, cost = usage_of(part.nodes.values()), cost_of(part.nodes.values())
        # As MLflow: it looks for the mark of a finished trace only where the request has totals or a session.
        stands = trace.finalized and bool(usage or cost or part.values.session_id)
        apply_common(trace, part, times=not stands)
        if part.root_status is not None:
            _apply_root(trace, part, part.root_status)
        _apply_values(trace, part.values)
        if usage or cost:
            nodes = [*part.nodes.values(), *(node for node in trace.nodes.values() if node.span_id not in part.nodes)]
            if usage and not (stands and is_known(trace.tokens)):
                trace.tokens = merged(trace.tokens, token_columns(nodes))
            if cost and not (stands and is_known(trace.costs)):
                trace.costs = merged(trace.costs, cost_columns(nodes))
        trace.spans |= part.spans
        trace.nodes |= part.nodes
        trace.sources |= part.sources

    def totals_wanted(self, trace: _Trace) -> bool:  # noqa: ARG002 - each part has made them
        """See `FoldPolicy`."""
        return False

    def needs_others(self, trace: _Trace) -> bool:  # noqa: ARG002 - never
        """See `FoldPolicy`."""
        return False

    def take_other(self, trace: _Trace, tags: dict[str, str], session_id: str | None, user_id: str | None) -> None:
        """Nothing: what is there already has counted when it came."""

    def failures_wanted(self, trace: _Trace) -> bool:  # noqa: ARG002 - never
        """See `FoldPolicy`."""
        return False

    def take_failure(self, trace: _Trace, failure: tuple[int, str]) -> None:
        """Nothing: a root says what it says."""

    def words_wanted(self, trace: _Trace) -> Collection[str]:  # noqa: ARG002 - none: nobody speaks for a root
        """See `FoldPolicy`."""
        return ()

    def take_words(self, trace: _Trace, span_id: str, content: str) -> None:
        """Nothing: none are wanted."""

    def decide(self, trace: _Trace) -> None:
        """Nothing: each part has decided."""


def _apply_values(trace: _Trace, values: ArrivalValues) -> None:
    """The first session and user, the last name and tags."""
    if values.trace_name is not None:
        trace.trace_name = values.trace_name
    trace.session_id = trace.session_id if trace.session_id is not None else values.session_id or None
    trace.user_id = trace.user_id if trace.user_id is not None else values.user_id or None
    trace.tags |= (values.resource_tags or {}) | values.trace_tags


def _apply_root(trace: _Trace, part: _Part, status: str) -> None:
    """The first state and previews."""
    if trace.status in UNFINISHED:
        trace.status = status
    with suppress(Exception):  # as MLflow: messages of an odd form have no preview
        if trace.request_preview is None and part.values.root_inputs:
            trace.request_preview = preview(part.values.root_inputs, "user")
        if trace.response_preview is None and part.values.root_outputs:
            trace.response_preview = preview(part.values.root_outputs, "assistant")
