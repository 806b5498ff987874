"""Headrace's own outcome: the root decides, and of the other spans the smallest value stands, whatever the order. No I/O.

MLflow takes what comes first, or last, so that the same spans give other traces in another order.
"""

from collections.abc import Collection, Mapping

from headrace.mlflow.fold.deciding import Deciding, listen, take_experiment, without_superseded
from headrace.mlflow.fold.policy import UNFINISHED, S, apply_common, begin
from headrace.mlflow.fold.speaking import known_failure, remembered_failure, speak, speakers, wanted
from headrace.mlflow.fold.totals import cost_of, is_known, preview_or, usage_of
from headrace.mlflow.fold.trace_totals import add_totals, has_figures, take_totals
from headrace.mlflow.model import (
    NAMED,
    NOBODY,
    Precedence,
    Root,
    Spoken,
    StoredTrace,
    Trace,
    TracePart,
    Verdict,
)
from headrace.mlflow.model.voices import MUTE
from headrace.mlflow.text import smaller
from headrace.mlflow.translate.values import RootValues

_Part = TracePart[RootValues]
_Trace = Trace[Deciding]


class RootDecides:
    """A `FoldPolicy`. The same spans make the same trace, in any order, in any batches, any number of times."""

    enriches = True
    may_move = True

    def values(self) -> RootValues:
        """See `FoldPolicy`."""
        return RootValues()

    def create(self, part: _Part) -> _Trace:
        """See `FoldPolicy`."""
        trace = begin(part, Deciding(NOBODY))
        self.apply(trace, part)
        return trace

    def open(self, stored: StoredTrace) -> _Trace:
        """See `FoldPolicy`. Until `take_stored_roots` nothing moves it."""
        return Trace.known(stored, Deciding(NAMED))

    def roots_wanted(self, spans: int) -> int:
        """Each span that comes may be a root that comes again, as something else: one more than these are enough.

        What all later roots say of their trace stands in its rows already.
        """
        return spans + 1

    def take_stored_roots(self, trace: _Trace, roots: Mapping[str, Root]) -> None:
        """See `FoldPolicy`. With them it is known by which precedence the trace stands where it does."""
        state, stored = trace.state, trace.stored
        state.roots = dict(roots)
        state.decided_by = state.root
        remembered = stored.precedence if stored else None
        if remembered is None:
            state.precedence = _precedence_told(trace)
        elif roots or trace.finalized:
            state.precedence = min(remembered, _precedence_told(trace))
        else:
            state.precedence = remembered

    def take_whole(self, trace: _Trace, span_id: str) -> None:
        """See `FoldPolicy`."""
        trace.state.whole.add(span_id)

    def needs_nodes(self, trace: _Trace, part: _Part) -> bool:
        """See `FoldPolicy`. Only a finished trace is added to in order."""
        if not trace.finalized:
            return False
        usage, cost = has_figures(part)
        return (usage and not is_known(trace.tokens)) or (cost and not is_known(trace.costs))

    def apply(self, trace: _Trace, part: _Part) -> None:
        """See `FoldPolicy`. The part only says what it knows: `decide` comes after the last."""
        state = trace.state
        apply_common(trace, part, times=not trace.finalized)
        take_experiment(trace, part)
        if part.unfinished or trace.unfinished:
            part = without_superseded(trace, part)
        trace.spans |= part.spans
        trace.nodes |= part.nodes
        trace.sources |= part.sources
        if trace.finalized:  # a finished trace is added to in order
            usage, cost = bool(usage_of(part.nodes.values())), bool(cost_of(part.nodes.values()))
            add_totals(trace, usage and not is_known(trace.tokens), cost and not is_known(trace.costs))
        else:
            state.has_figures |= any(has_figures(part))
            state.has_voices |= part.has_voices
        listen(trace, part)

    def totals_wanted(self, trace: _Trace) -> bool:
        """See `FoldPolicy`. A span without figures, too, may change the sum of a tree that has some."""
        if trace.finalized:
            return False
        state, stored = trace.state, trace.stored
        if stored is not None and (stored.totals is not None or stored.has_voices or state.has_voices):
            return True
        return state.has_figures or is_known(trace.tokens) or is_known(trace.costs)

    def needs_others(self, trace: _Trace) -> bool:
        """Whether the new root leaves open something that the one before has set."""
        before, now = trace.state.decided_by, trace.state.root
        if before is None or now is None or now is before:
            return False
        lost_id = (before.session_id and not now.session_id) or (before.user_id and not now.user_id)
        return bool(lost_id) or not before.tags.keys() <= now.tags.keys()

    def take_other(self, trace: _Trace, tags: dict[str, str], session_id: str | None, user_id: str | None) -> None:
        """See `FoldPolicy`."""
        trace.state.others.add(tags, session_id, user_id)

    def failures_wanted(self, trace: _Trace) -> bool:
        """See `FoldPolicy`. Only a root that failed and says no word asks for them."""
        root = trace.state.root
        mute = root is not None and MUTE in root.says and trace.stored is not None and not trace.finalized
        return mute and remembered_failure(trace) is None

    def take_failure(self, trace: _Trace, failure: tuple[int, str]) -> None:
        """See `FoldPolicy`."""
        trace.state.failure = failure

    def words_wanted(self, trace: _Trace) -> Collection[str]:
        """See `FoldPolicy`."""
        root = trace.state.root
        self._take_totals(trace)
        if root is None or trace.stored is None:
            return ()
        return wanted(trace, self._speakers(trace, root), anew=root is not trace.state.decided_by)

    def take_words(self, trace: _Trace, span_id: str, content: str) -> None:
        """See `FoldPolicy`."""
        trace.state.fetched[span_id] = content

    def _take_totals(self, trace: _Trace) -> None:
        """Once for all parts, as a tree of many spans is walked."""
        if not trace.state.totals_taken and self.totals_wanted(trace):
            trace.state.totals_taken = True
            take_totals(trace)

    def _speakers(self, trace: _Trace, root: Root) -> Spoken:
        state = trace.state
        return speakers(trace, root, known_failure(trace, state.failures, state.failure), voices=state.has_voices)

    def decide(self, trace: _Trace) -> Verdict:
        """See `FoldPolicy`."""
        state = trace.state
        root = state.root
        self._take_totals(trace)
        if len(state.roots) > 1:
            for other in state.roots.values():
                if other is not root:
                    state.add_to_others(other)
        if root is not None and root is not state.decided_by:
            take_root(trace, root)
        _take_others(trace, root)
        spoken = Spoken(failure=known_failure(trace, state.failures, state.failure))
        if root is not None:
            spoken = self._speakers(trace, root)
            speak(trace, root, spoken, state.fetched)
        kept = None if trace.finalized or state.precedence == _precedence_told(trace) else state.precedence
        return Verdict(root, kept, spoken, state.superseded)


def take_root(trace: Trace[S], root: Root) -> None:
    """What MLflow's own client has reported of a finished trace stands; all else is the root's to say."""
    stands = trace.finalized
    trace.tags |= root.tags
    if not (stands and trace.status not in UNFINISHED):
        trace.status = root.status
    if trace.trace_name is None or not stands:
        trace.trace_name = root.trace_name or root.name
    if trace.request_preview is None or not stands:
        trace.request_preview = preview_or(root.inputs, "user", root.request_preview)
    if trace.response_preview is None or not stands:
        trace.response_preview = preview_or(root.outputs, "assistant", root.response_preview)
    if root.session_id and (trace.session_id is None or not stands):
        trace.session_id = root.session_id
    if root.user_id and (trace.user_id is None or not stands):
        trace.user_id = root.user_id


def _take_others(trace: _Trace, root: Root | None) -> None:
    """What the root leaves open."""
    others, decided = trace.state.others, root.tags if root else {}
    for key, value in others.tags.items():
        if key not in decided:
            trace.tags[key] = min(value, trace.stored_tags.get(key, value))
    if not (root and root.session_id) and not (trace.finalized and trace.session_id):
        trace.session_id = smaller(trace.session_id, others.session_id)
    if not (root and root.user_id) and not (trace.finalized and trace.user_id):
        trace.user_id = smaller(trace.user_id, others.user_id)


def _precedence_told(trace: _Trace) -> Precedence:
    """That of its experiment, as its rows in MLflow's tables tell it."""
    root = trace.state.root
    return NAMED if root is None or trace.finalized else root.precedence
