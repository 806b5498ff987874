"""Whose word counts where spans say different things of their trace: `ArrivalOrder` or `RootDecides`. No I/O.

Both fold the parts of a trace into the trace, one request after the other, as MLflow's `_log_spans_once` does. So a batch of
many requests leaves what the same requests leave one by one, and is written once. What each of them keeps is said in
`tests/unit/mlflow/test_fold_policies.py`.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once`, phases 2 to 5 (3.17).
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from typing_extensions import TypeVar

from headrace.mlflow.keys import SPANS_LOCATION, TRACKING_STORE
from headrace.mlflow.model import Root, StoredTrace, Trace, TracePart, Verdict
from headrace.mlflow.translate.parts import SpanValues

UNFINISHED = ("IN_PROGRESS", "STATE_UNSPECIFIED")
"""MLflow's states of a trace whose root has not come."""

V = TypeVar("V", bound=SpanValues)
S = TypeVar("S")


class FoldPolicy(Protocol[V, S]):
    """Parts of traces → the traces as they shall stand. `V`: what it gathers of a part; `S`: what it remembers of a trace.

    The writer asks in this order: `open` for a trace that is there, `roots_wanted`, `take_stored_roots`, `take_whole` and
    `needs_nodes`; `create` or `apply` for each part; then `totals_wanted`, `needs_others`, `take_other`, `failures_wanted`,
    `take_failure`, `words_wanted`, `take_words`, and `decide` once.
    """

    @property
    def enriches(self) -> bool:
        """See `Gathering`."""

    @property
    def may_move(self) -> bool:
        """Whether a trace may end in another experiment than it began in."""

    def values(self) -> V:
        """See `Gathering`."""

    def create(self, part: TracePart[V]) -> Trace[S]:
        """A trace that nobody knew before, from the first of its parts."""

    def open(self, stored: StoredTrace) -> Trace[S]:
        """A trace that is there already."""

    def roots_wanted(self, spans: int) -> int:
        """How many of the earliest stored roots of a trace it wants to know, to which so many spans come now."""

    def take_stored_roots(self, trace: Trace[S], roots: Mapping[str, Root]) -> None:
        """Takes them, by span id; called only where some were wanted, for each trace that is there."""

    def take_whole(self, trace: Trace[S], span_id: str) -> None:
        """Takes a span that is there already with an end, and of which a part brings a copy without one."""

    def needs_nodes(self, trace: Trace[S], part: TracePart[V]) -> bool:
        """Whether `apply` makes totals over all spans of the trace when this part comes."""

    def apply(self, trace: Trace[S], part: TracePart[V]) -> None:
        """Adds one request's part to the trace."""

    def totals_wanted(self, trace: Trace[S]) -> bool:
        """Whether `decide` makes them, of a trace that is there. Asked after the last part."""

    def needs_others(self, trace: Trace[S]) -> bool:
        """Whether what all stored spans of the trace say counts again. Asked after the last part."""

    def take_other(self, trace: Trace[S], tags: dict[str, str], session_id: str | None, user_id: str | None) -> None:
        """Takes what one of them says."""

    def failures_wanted(self, trace: Trace[S]) -> bool:
        """Whether it asks which of the stored spans say why they failed. Asked after the last part."""

    def take_failure(self, trace: Trace[S], failure: tuple[int, str]) -> None:
        """Takes the one of them that ended last: its end, negative, and its id; empty if there is none."""

    def words_wanted(self, trace: Trace[S]) -> Collection[str]:
        """The stored spans, by id, whose content it wants to know. Asked once the totals and the failures are there."""

    def take_words(self, trace: Trace[S], span_id: str, content: str) -> None:
        """Takes the content of one of them."""

    def decide(self, trace: Trace[S]) -> Verdict | None:
        """Ends the fold; returns what is to be remembered beside MLflow's tables, and counted."""


def begin(part: TracePart[V], state: S) -> Trace[S]:
    """A new trace, to which the part is not yet applied."""
    return Trace(
        trace_id=part.trace_id,
        experiment_id=part.experiment_id,
        timestamp_ms=part.start_ms,
        execution_time_ms=None,
        status=part.root_status or "IN_PROGRESS",
        state=state,
    )


def apply_common(trace: Trace[S], part: TracePart[V], *, times: bool) -> None:
    """What no policy decides: the tag of the spans' place, runs, and (with `times`) begin and end."""
    trace.max_tags = max(trace.max_tags, part.max_tags)
    trace.tags[SPANS_LOCATION] = TRACKING_STORE
    if part.run_id and part.root_status is not None:
        trace.run_ids.add(part.run_id)
    if times:
        _extend(trace, part.start_ms, part.end_ms)


def _extend(trace: Trace[S], start_ms: int, end_ms: int) -> None:
    old_end = None if trace.execution_time_ms is None else trace.timestamp_ms + trace.execution_time_ms
    trace.timestamp_ms = min(trace.timestamp_ms, start_ms)
    trace.execution_time_ms = (end_ms if old_end is None else max(old_end, end_ms)) - trace.timestamp_ms
