"""Headrace's own outcome: the root decides, and of the other spans the smallest value stands, whatever the order. No I/O.

MLflow takes what comes first, or last, so that the same spans give other traces in another order.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from headrace.mlflow.fold.policy import UNFINISHED, S, apply_common, begin
from headrace.mlflow.fold.speaking import Failure, known_failure, remembered_failure, speak, speakers, wanted
from headrace.mlflow.fold.totals import cost_of, is_known, preview_or, usage_of
from headrace.mlflow.fold.trace_totals import add_totals, has_figures, take_totals
from headrace.mlflow.model import (
    NAMED,
    NOBODY,
    NonRootValues,
    Precedence,
    Root,
    Spoken,
    StoredTrace,
    Trace,
    TracePart,
    Verdict,
    earliest,
)
from headrace.mlflow.model.voices import MUTE
from headrace.mlflow.text import smaller
from headrace.mlflow.translate.values import RootValues


@dataclass(slots=True)
class Deciding:
    """What is known of a trace until `RootDecides.decide`."""

    precedence: Precedence
    """By which it stands in its experiment."""
    roots: dict[str, Root] = field(default_factory=dict)
    """Those that are known, by span id."""
    decided_by: Root | None = None
    """The one that has decided what stands in Postgres."""
    others: NonRootValues = field(default_factory=NonRootValues)
    """What all but the root have said in this batch, or (where the writer has read that) ever."""
    has_figures: bool = False
    """Spans of this batch have token usage or costs."""
    totals_taken: bool = False
    """The totals of all parts are made."""
    has_voices: bool = False
    """Spans of this batch may speak for their root."""
    failures: dict[str, int] = field(default_factory=dict)
    """Spans of this batch that say why they failed, and when they ended."""
    failure: Failure | None = None
    """Of the spans that are there already the one that ended last, where the writer has looked."""
    fetched: dict[str, str] = field(default_factory=dict)
    """Contents of spans that are there already, and speak."""

    @property
    def root(self) -> Root | None:
        """The one that decides."""
        return earliest(self.roots)

    def add_to_others(self, root: Root) -> None:
        """Takes what a root that does not decide says."""
        self.others.add(root.tags, root.session_id, root.user_id)


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
        _take_experiment(trace, part)
        if part.unfinished or trace.unfinished:
            part = _without_superseded(trace, part)
        trace.spans |= part.spans
        trace.nodes |= part.nodes
        trace.sources |= part.sources
        if trace.finalized:  # a finished trace is added to in order
            usage, cost = bool(usage_of(part.nodes.values())), bool(cost_of(part.nodes.values()))
            add_totals(trace, usage and not is_known(trace.tokens), cost and not is_known(trace.costs))
        else:
            state.has_figures |= any(has_figures(part))
            state.has_voices |= part.has_voices
        _listen(trace, part)

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
        return Verdict(root, kept, spoken)


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


def _take_experiment(trace: _Trace, part: _Part) -> None:
    """Takes the best precedence."""
    if (precedence := part.values.precedence(part.spans)) < trace.state.precedence:
        trace.experiment_id, trace.state.precedence = part.experiment_id, precedence


def _without_superseded(trace: _Trace, part: _Part) -> _Part:
    """The part without its copies of spans that have no end where the whole span is known: whatever came first, that stands.

    What such a copy says of session, user and tags is gathered as if the whole span had come after it.
    """
    superseded = {span_id for span_id in part.unfinished if _is_whole(trace, span_id)}
    trace.unfinished.difference_update(part.spans)
    trace.unfinished.update(part.unfinished - superseded)
    if not superseded:
        return part
    trace.superseded += len(superseded)
    return replace(
        part,
        values=part.values.without(superseded),
        spans={span_id: row for span_id, row in part.spans.items() if span_id not in superseded},
        nodes={span_id: node for span_id, node in part.nodes.items() if span_id not in superseded},
        sources={span_id: source for span_id, source in part.sources.items() if span_id not in superseded},
        unfinished=part.unfinished - superseded,
    )


def _is_whole(trace: _Trace, span_id: str) -> bool:
    """Whether a span is known with an end: in this batch, or else in Postgres."""
    return span_id not in trace.unfinished if span_id in trace.spans else span_id in trace.whole


def _listen(trace: _Trace, part: _Part) -> None:
    """Takes the roots as they are now, and gathers what the other spans say."""
    state, values = trace.state, part.values
    if values.prompts:
        trace.prompts |= values.prompts
    state.others.add(values.others.tags, values.others.session_id, values.others.user_id)
    if state.failures:
        state.failures = {span_id: end for span_id, end in state.failures.items() if span_id not in part.spans}
    state.failures |= values.failures
    if state.roots:
        for span_id in state.roots.keys() & part.spans.keys():  # it comes again
            state.add_to_others(state.roots.pop(span_id))
    state.roots |= values.roots
