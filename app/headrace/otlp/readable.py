"""OTLP messages as types that can only be read: the protobuf messages fit them, and mypy refuses an assignment through them.

Protobuf has no read-only messages, and wrappers would cost more than the parsing. To change a message, ask its owner for it:
see `headrace.envelope.incoming.Request.for_change`.
"""

from collections.abc import Sequence
from typing import Literal, Protocol


class ReadableArray(Protocol):
    """An `ArrayValue`."""

    @property
    def values(self) -> "Sequence[ReadableValue]": ...


class ReadableMap(Protocol):
    """A `KeyValueList`."""

    @property
    def values(self) -> "Sequence[ReadablePair]": ...


class ReadableValue(Protocol):
    """An `AnyValue`."""

    @property
    def string_value(self) -> str: ...
    @property
    def array_value(self) -> ReadableArray: ...
    @property
    def kvlist_value(self) -> ReadableMap: ...
    def WhichOneof(self, oneof_group: Literal["value"], /) -> str | None: ...  # noqa: N802 - protobuf's name
    def ByteSize(self) -> int: ...  # noqa: N802


class ReadablePair(Protocol):
    """A `KeyValue`."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> ReadableValue: ...


class ReadableSpan(Protocol):
    """A `Span`."""

    @property
    def trace_id(self) -> bytes: ...
    @property
    def span_id(self) -> bytes: ...
    @property
    def parent_span_id(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def start_time_unix_nano(self) -> int: ...
    @property
    def end_time_unix_nano(self) -> int: ...
    @property
    def attributes(self) -> Sequence[ReadablePair]: ...
    def ByteSize(self) -> int: ...  # noqa: N802


class ReadableScope(Protocol):
    """An `InstrumentationScope`."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    def ByteSize(self) -> int: ...  # noqa: N802


class ReadableScopeSpans(Protocol):
    """A `ScopeSpans`."""

    @property
    def scope(self) -> ReadableScope: ...
    @property
    def spans(self) -> Sequence[ReadableSpan]: ...


class ReadableResource(Protocol):
    """A `Resource`."""

    @property
    def attributes(self) -> Sequence[ReadablePair]: ...
    def ByteSize(self) -> int: ...  # noqa: N802


class ReadableHolder(Protocol):
    """A `ResourceSpans`, `ResourceLogs` or `ResourceMetrics`."""

    @property
    def resource(self) -> ReadableResource: ...


class ReadableResourceSpans(ReadableHolder, Protocol):
    """A `ResourceSpans`."""

    @property
    def scope_spans(self) -> Sequence[ReadableScopeSpans]: ...


class ReadableRequest(Protocol):
    """An `ExportTraceServiceRequest`."""

    @property
    def resource_spans(self) -> Sequence[ReadableResourceSpans]: ...
    def SerializeToString(self) -> bytes: ...  # noqa: N802
    def ByteSize(self) -> int: ...  # noqa: N802
