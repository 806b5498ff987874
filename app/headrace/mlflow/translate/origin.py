"""What a span's row cannot say of its OTLP, kept beside it, so that `readback` gives back exactly what was sent. No I/O.

`spans.content` gets one more key, `"otlp"`, which MLflow does not read:

    origin   which resource and scope the span came with: the digest of a row of `headrace.origin`
    kind, flags     of the span, where they are not 0
    speaks   on a span that may speak for its root: why it failed (`e`), its inputs (`i`), its outputs (`o`): see `speaks.py`
    borrows  "model" on a span with tokens that states no model: see `borrowed.py`
    implicit true on a root whose experiment a rule or the default chose: see `Precedence`
    times    the times that were sent where others are stored (`start`, `end`), and which `events` had none: see `times.py`
    texts    attributes that were texts, but whose JSON stands in the content without its quotes, as MLflow leaves it
    added    attributes that were not sent: MLflow's translation and our enrichment made them
    logs     the log records that were joined with the span, a `LogsData` in base64: see `note.py`
    log_positions  the places of these records among those of equal time, as they were sent, if some are not 0
    log_events  how many of the events in the content, the last ones, these records have become
    log_cut  if there were too many records: the rank of the first that is not kept, see `logs/record.py`
    log_cut_position  its position, if it is not 0
    sent     attributes whose value MLflow replaced, as they were sent
    span     the whole span, in base64, where the above does not suffice (bytes, keys that come twice, and the like)
"""

import hashlib
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

CHOSEN_BY_RULE = "implicit"
TIMES = "times"
SPEAKS = "speaks"
BORROWS = "borrows"
_AS_SENT: Mapping[str, Any] = MappingProxyType({})

MAX_CACHED_BYTES = 16 * 1024
"""Of a cached resource: a cache is bounded in number, and so must be what it holds."""


class Origin(NamedTuple):
    """A resource and a scope, without spans: `data` is a serialized `ResourceSpans` of one empty `ScopeSpans`."""

    digest: str
    data: bytes


def origin_of(resource_spans: ResourceSpans) -> Origin:
    """The origin that the spans of a scope share: `resource_spans` has this scope only, and no spans."""
    data = resource_spans.SerializeToString(deterministic=True)
    return Origin(hashlib.blake2b(data, digest_size=16).hexdigest(), data)


class Marks(NamedTuple):
    """What few spans have of `"otlp"`. `times`: see `TIMES`. `speaks`: see `SPEAKS`. `logs`: the keys of its log records.
    `borrows`: see `BORROWS`."""

    chosen_by_rule: bool = False
    times: Mapping[str, Any] = _AS_SENT
    speaks: str = ""
    logs: str = ""
    borrows: bool = False


NO_MARKS = Marks()


def otlp_note(span: Span, origin: Origin, note: str, exact: bool, marks: Marks) -> str:
    """The JSON of `"otlp"`, for a span as it was sent.

    `exact`: whether the content holds the span's attributes, given `note`, the further keys.
    """
    chosen_by_rule, times, speaks, logs, borrows = marks
    mark = f', "{SPEAKS}": "{speaks}"' if speaks else ""  # first, where the writer's statements look for it
    if borrows:
        mark += f', "{BORROWS}": "model"'
    if chosen_by_rule:
        mark += f', "{CHOSEN_BY_RULE}": true'
    if times:
        mark += f', "{TIMES}": {json.dumps(times)}'
    if not (exact and _rest_is_exact(span)):
        return f'{{"origin": "{origin.digest}"{mark}, "span": "{b64encode(span.SerializeToString()).decode()}"{logs}}}'
    kind = f', "kind": {span.kind}' if span.kind else ""
    flags = f', "flags": {span.flags}' if span.flags else ""
    return f'{{"origin": "{origin.digest}"{mark}{kind}{flags}{note}{logs}}}'


def is_exact(value: AnyValue) -> bool:
    """Whether a value comes back the same from JSON: no bytes, no key twice, and numbers that are."""
    kind = value.WhichOneof("value")
    if kind == "bytes_value":
        return False
    if kind == "double_value":
        return math.isfinite(value.double_value)
    if kind == "array_value":
        return all(is_exact(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return attributes_are_exact(value.kvlist_value.values)
    return kind in (None, "string_value", "int_value", "bool_value")


def attributes_are_exact(pairs: Iterable[KeyValue]) -> bool:
    """The same of attributes."""
    keys = set()
    for pair in pairs:
        if pair.key in keys or not is_exact(pair.value):
            return False
        keys.add(pair.key)
    return True


def _rest_is_exact(span: Span) -> bool:
    """Whether all but the attributes, the kind and the flags comes back the same from the content."""
    if span.trace_state or span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
        return False
    if (span.status.message and span.status.code != 2) or not 0 <= span.status.code <= 2:
        return False
    if span.parent_span_id and not any(span.parent_span_id):
        return False
    if span.events and not all(_is_plain(event) for event in span.events):
        return False
    return not span.links or all(
        len(link.trace_id) == 16 and len(link.span_id) == 8 and not link.trace_state and not link.flags and _is_plain(link)
        for link in span.links
    )


def _is_plain(part: Any) -> bool:
    return not part.dropped_attributes_count and attributes_are_exact(part.attributes)
