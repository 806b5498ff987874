"""A trace: what one request adds to it, what Postgres holds of it, and what is to be written of it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

from typing_extensions import TypeVar

from headrace.envelope.limit import Limit
from headrace.mlflow.model.roots import Precedence, Root
from headrace.mlflow.model.rows import COST_COLUMNS, TOKEN_COLUMNS, Node, Source, SpanRow
from headrace.mlflow.model.totals import Totals
from headrace.mlflow.model.voices import Spoken

Values = TypeVar("Values", default=Any)
"""What a fold policy gathers of the spans of a part."""
State = TypeVar("State", default=Any)
"""What a fold policy remembers of a trace until it decides."""


@dataclass(slots=True)
class TracePart(Generic[Values]):
    """What one request says of one trace in one experiment: its rows, and what the fold policy has gathered."""

    trace_id: str
    experiment_id: int
    values: Values
    run_id: str = ""
    max_tags: int = 0
    """How many tags its trace may have."""
    limit: Limit | None = None
    """The experiments whose traces it may change. None: all."""
    delivery: int = 0
    """The index, in its batch, of the delivery that it comes from."""
    spans: dict[str, SpanRow] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    """Of its spans, for the index."""
    origins: dict[str, bytes] = field(default_factory=dict)
    """The resources and scopes that the notes of its spans name, by digest."""
    unfinished: set[str] = field(default_factory=set)
    """Its spans that came without a possible end. With enrichment only."""
    has_voices: bool = False
    """Some of its spans may speak for their root. With enrichment only."""

    @property
    def start_ms(self) -> int:
        """When its first span began."""
        return min(row.start_time_unix_nano for row in self.spans.values()) // 1_000_000

    @property
    def end_ms(self) -> int:
        """When its last span ended."""
        return max(row.end_time_unix_nano for row in self.spans.values()) // 1_000_000

    @property
    def root_status(self) -> str | None:
        """MLflow's state of a trace, told by its (first) root span, if it is among these."""
        for row in self.spans.values():
            if row.parent_span_id is None:
                return "ERROR" if row.status == "ERROR" else "OK"
        return None


class TraceRow(NamedTuple):
    """The columns of `trace_info` that the fold reads, as the statement `lock_traces` names them."""

    trace_id: str
    experiment_id: int
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    request_preview: str | None
    response_preview: str | None
    trace_name: str | None
    session_id: str | None
    tokens: list[int | None]
    costs: list[float | None]


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """What Postgres holds of a trace, locked until the end of the transaction."""

    row: TraceRow
    tags: Mapping[str, str] = field(default_factory=dict)
    user_id: str | None = None
    finalized: bool = False
    """MLflow's own client has reported the whole trace (`start_trace`): its times and totals stand."""
    precedence: Precedence | None = None
    """What `headrace.movable_trace` remembers."""
    noted_unfinished: bool = False
    """It is in `headrace.unfinished_trace`."""
    noted_just_now: bool = False
    """It was noted there within the last second."""
    roots: Mapping[str, Root] | None = None
    """What `headrace.remembered_trace` remembers: the root that has decided, by its span id, if there is one. None: nothing."""
    totals: Totals | None = None
    """What it remembers of the figures of all spans. None: nothing. They change as spans are added to them."""
    spoken: Spoken | None = None
    """Whose words it remembers to stand in the row. None: nothing."""
    has_voices: bool = False
    """Nothing is remembered, and some of its spans may speak for their root."""
    lenders: frozenset[str] | None = None
    """See `Trace.lenders`. None: nothing is remembered."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy that decides says of a trace beside MLflow's tables: it is remembered, or counted."""

    root: Root | None
    """The one that decides."""
    precedence: Precedence | None
    """That of its experiment, where MLflow's tables do not tell it."""
    spoken: Spoken = field(default_factory=Spoken)
    """Whose words stand in its row."""
    superseded: int = 0
    """How many copies without an end came after the whole span."""


@dataclass(slots=True)
class Trace(Generic[State]):
    """A trace as it shall stand: the columns to write, what hangs on them, and where it stands in Postgres now."""

    trace_id: str
    experiment_id: int
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    state: State
    stored: StoredTrace | None = None
    """None: this batch creates it."""
    request_preview: str | None = None
    response_preview: str | None = None
    trace_name: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    tokens: list[int | None] = field(default_factory=lambda: [None] * len(TOKEN_COLUMNS))
    costs: list[float | None] = field(default_factory=lambda: [None] * len(COST_COLUMNS))
    generation: int = 0
    """How many requests of this batch have added to it."""
    tags: dict[str, str] = field(default_factory=dict)
    """To be written."""
    max_tags: int = 0
    """How many it may have, those that are stored among them."""
    run_ids: set[str] = field(default_factory=set)
    prompts: set[str] = field(default_factory=set)
    """The prompts that this batch links it to, as `name/version`."""
    spans: dict[str, SpanRow] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    """Of this batch; those in Postgres are added when a total needs them."""
    sources: dict[str, Source] = field(default_factory=dict)
    """Those of `spans`."""
    totals: Totals | None = None
    """Those of all its spans, where the policy has made them, or the writer has added this batch to those that it remembers."""
    lenders: set[str] = field(default_factory=set)
    """Spans on which the models of others hang: those above a span that borrows, up to the first that states a model. If one of
    them comes (again), those below it have to be looked at once more."""
    unfinished: set[str] = field(default_factory=set)
    """Of `spans`, those that came without a possible end."""
    verdict: Verdict | None = None
    """None: nothing is to be remembered."""

    @classmethod
    def known(cls, stored: StoredTrace, state: State) -> "Trace[State]":
        """A trace that is there already, as it stands."""
        row = stored.row
        return cls(
            trace_id=row.trace_id,
            experiment_id=row.experiment_id,
            timestamp_ms=row.timestamp_ms,
            execution_time_ms=row.execution_time_ms,
            status=row.status,
            state=state,
            stored=stored,
            request_preview=row.request_preview,
            response_preview=row.response_preview,
            trace_name=row.trace_name,
            session_id=row.session_id,
            user_id=stored.user_id,
            tokens=row.tokens,
            costs=row.costs,
            lenders=set(stored.lenders or ()),
        )

    @property
    def finalized(self) -> bool:
        """See `StoredTrace.finalized`."""
        return self.stored is not None and self.stored.finalized

    @property
    def stored_tags(self) -> Mapping[str, str]:
        """The tags that are there already."""
        return self.stored.tags if self.stored else {}

    @property
    def moved(self) -> bool:
        """Whether it stands in another experiment in Postgres."""
        return self.stored is not None and self.stored.row.experiment_id != self.experiment_id

    @property
    def begins_earlier(self) -> bool:
        """Whether it is there already, and has turned out to have begun earlier."""
        return self.stored is not None and self.timestamp_ms < self.stored.row.timestamp_ms
