"""Jaeger's questions → ours. Pure; no I/O."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

from headrace.console.jaeger.trace_storage_pb2 import TraceQueryParameters
from headrace.errors import MalformedBody
from headrace.otlp.attributes import to_python, to_text
from headrace.reader import Experiments, Query

EXPERIMENT = "mlflow.experiment"
"""A tag of a search that names an experiment, by id or by name."""
DEFAULT_DEPTH = 20
_LATER = {9: "filter", 10: "pagination"}
"""Fields of `TraceQueryParameters` in jaeger-idl v0.14.0."""
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
"""Jaeger's names of OTLP's kinds of spans, by number."""


def nanoseconds(time: "Timestamp | Duration") -> int:
    """A time since 1970, or a duration. 0: it is unset, or before 1970."""
    return max(0, time.seconds * 1_000_000_000 + time.nanos)


def attributes(asked: TraceQueryParameters) -> dict[str, str]:
    """The tags of a search, as texts."""
    return {pair.key: to_text(to_python(pair.value)) for pair in asked.attributes}


def to_query(asked: TraceQueryParameters, experiments: Experiments) -> Query:
    """A search. Jaeger sends durations of 0 where it means none, and a latest time that is itself included."""
    _refuse_what_is_not_offered(asked)
    latest = nanoseconds(asked.start_time_max)
    tags = attributes(asked)
    tags.pop(EXPERIMENT, None)
    return Query(
        experiments=experiments,
        service=asked.service_name,
        operation=asked.operation_name,
        attributes=tags,
        min_duration=nanoseconds(asked.duration_min),
        max_duration=nanoseconds(asked.duration_max),
        since=nanoseconds(asked.start_time_min),
        until=latest + 1 if latest else 0,
        limit=asked.search_depth if asked.search_depth > 0 else DEFAULT_DEPTH,
    )


def _refuse_what_is_not_offered(asked: TraceQueryParameters) -> None:
    """Later versions of the API have filters and pages, which `GetCapabilities` does not offer. Whoever asks for them all the
    same must not take what is found without them for an answer."""
    unknown = UnknownFieldSet(asked)
    later = {unknown[number].field_number for number in range(len(unknown))}
    for number, name in _LATER.items():
        if number in later:
            raise MalformedBody(f"The search has a {name}, which Headrace does not serve: see GetCapabilities.")


def kind_of(name: str) -> int | None:
    """The number of a kind. None: any, as none is named; -1: there is no such kind."""
    known = name.lower().removeprefix("span_kind_")
    if not known:
        return None
    return KINDS.index(known) if known in KINDS else -1
