"""Reads traces back: MLflow's rows and ours → OTLP, search, services, operations, dependencies.

`TraceReader` is the seam. `postgres.py` implements it; `tests/contracts/trace_reader.py` says what each implementation keeps.
Reading never slows writing: it has connections of its own, takes no lock, and each answer is bounded in rows, bytes and time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

Experiments = Collection[int] | None
"""The experiments that may be read. None: all."""


@dataclass(frozen=True, slots=True)
class ReadTrace:
    """One trace, as it was sent."""

    experiment_id: int
    data: TracesData
    """Spans that MLflow itself has written, or that came with enrichment off, have no scope, and of their resource only the
    service: that of the trace's tag `service.name`, or else `mlflow`."""
    complete: bool
    """False: a limit has cut the trace short. Its latest spans are missing."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which traces to find: those with a span that has all that is asked for. An empty text, and 0, ask for nothing."""

    experiments: Experiments = None
    service: str = ""
    operation: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Values as texts, `true`, `3`, of the span or of its resource. The key `error` asks for the span's status."""
    min_duration: int = 0
    """Of the span, in nanoseconds, as `max_duration`."""
    max_duration: int = 0
    since: int = 0
    """The earliest time, in nanoseconds since 1970, at which the trace begins; or the named service's part of it."""
    until: int = 0
    """The time before which it begins."""
    error: bool | None = None
    """Whether the span has failed. None: either."""
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Found:
    """A trace that a search has found."""

    trace_id: str
    """OTLP's, in hex."""
    experiment_id: int
    name: str
    start: int
    """In nanoseconds since 1970. MLflow keeps milliseconds."""
    duration: int
    """In nanoseconds, of the same precision. 0: not known."""
    error: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The traces that a search has found, the newest first."""

    found: list[Found]
    complete: bool
    """False: a limit has ended the search. There may be older traces."""


class Operation(NamedTuple):
    """What a service does, by the name and the kind (OTLP's number) of its spans."""

    name: str
    kind: int


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """All calls of one service to another."""

    caller: str
    callee: str
    calls: int
    errors: int
    """How many of the calls failed."""
    duration: int
    """Of all calls together, in nanoseconds."""


class Experiment(NamedTuple):
    """An experiment of MLflow's workspace `default`."""

    id: int
    name: str


class Activity(NamedTuple):
    """An experiment, and when its newest trace began."""

    experiment: Experiment
    last: int
    """In nanoseconds since 1970. 0: it has no trace."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of MLflow's, and the last value of each of its metrics."""

    run_id: str
    name: str
    start: int
    """In nanoseconds since 1970. 0: not known."""
    metrics: Mapping[str, float] = field(default_factory=dict)


class RunTrace(NamedTuple):
    """A trace that belongs to a run."""

    run_id: str
    trace_id: str
    """OTLP's, in hex."""
    start: int
    """In nanoseconds since 1970."""
    duration: int
    """In nanoseconds. 0: not known."""
    error: bool
    tokens: int | None = None
    """Of all its calls of models together. None: not known, as `cost`."""
    cost: float | None = None
    """In US dollars."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of an experiment that its newest traces belong to, the oldest first; and these traces, the newest first."""

    runs: list[Run]
    traces: list[RunTrace]
    complete: bool
    """False: a limit has left older traces out."""


class TraceReader(Protocol):
    """Reads; takes no lock. What lies outside of the given experiments is as if it were not there.

    Each method raises DatabaseUnavailable if Postgres is away, and StatementTimeout if the question takes too long.
    """

    def trace(self, trace_id: str, experiments: Experiments = None) -> ReadTrace | None:
        """One trace, by OTLP's id in hex. None: there is none, or Postgres has no span of it."""

    def search(self, query: Query) -> SearchResult:
        """The newest traces that have what is asked for."""

    def services(self, experiments: Experiments = None) -> list[str]:
        """The names of all services, ordered."""

    def operations(self, service: str, experiments: Experiments = None) -> list[Operation]:
        """The operations of a service, ordered."""

    def dependencies(self, since: int, until: int, experiments: Experiments = None) -> list[Edge]:
        """The calls between services that began in the hours between these times (nanoseconds), ordered by names."""

    def experiments(self) -> list[Experiment]:
        """The experiments that are not deleted, ordered by id."""

    def activity(self, experiments: Experiments = None) -> list[Activity]:
        """The experiments, that with the newest trace first; those without traces last. 100 at most, of the newest 1,000."""

    def runs(self, experiment_id: int) -> Runs:
        """The runs that the newest traces of an experiment belong to, and these traces. Runs of other experiments are left
        out."""
