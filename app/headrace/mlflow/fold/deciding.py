"""What is known of a trace until its root decides, and what each part adds to it. No I/O."""

from dataclasses import dataclass, field, replace

from headrace.mlflow.fold.speaking import Failure
from headrace.mlflow.model import NonRootValues, Precedence, Root, Trace, TracePart, earliest
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
    whole: set[str] = field(default_factory=set)
    """Spans that are there already with an end, and of which this batch brings a copy without one."""
    superseded: int = 0
    """How many copies without an end came after the whole span."""
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


def take_experiment(trace: _Trace, part: _Part) -> None:
    """Takes the best precedence."""
    if (precedence := part.values.precedence(part.spans)) < trace.state.precedence:
        trace.experiment_id, trace.state.precedence = part.experiment_id, precedence


def without_superseded(trace: _Trace, part: _Part) -> _Part:
    """The part without its copies of spans that have no end where the whole span is known: whatever came first, that stands.

    What such a copy says of session, user and tags is gathered as if the whole span had come after it.
    """
    superseded = {span_id for span_id in part.unfinished if _is_whole(trace, span_id)}
    trace.unfinished.difference_update(part.spans)
    trace.unfinished.update(part.unfinished - superseded)
    if not superseded:
        return part
    trace.state.superseded += len(superseded)
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
    return span_id not in trace.unfinished if span_id in trace.spans else span_id in trace.state.whole


def listen(trace: _Trace, part: _Part) -> None:
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
