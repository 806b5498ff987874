"""One request → a part for each of its traces: what MLflow's `log_spans` would make of it, or what Headrace makes. No I/O.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once` (3.17).
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans
from typing_extensions import TypeVar

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.keys import to_trace_id
from headrace.mlflow.logs.record import NOTHING_KEPT, BySpan
from headrace.mlflow.model import Node, TracePart
from headrace.mlflow.text import Repairs
from headrace.mlflow.translate.dialects import known
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.enrich import shared_attributes
from headrace.mlflow.translate.origin import MAX_CACHED_BYTES, origin_of
from headrace.mlflow.translate.spans import Context, Enrichment, TranslatedSpan, to_row
from headrace.mlflow.translate.speaks import to_voice
from headrace.mlflow.translate.tags import MAX_TAGS, indexed_service, known_service, resource_tags
from headrace.mlflow.translate.values import to_node


class SpanValues(Protocol):
    """What spans say of their trace, gathered span by span."""

    def add(self, translated: TranslatedSpan, context: Context, max_tags: int, /) -> None:
        """Adds what one more span says. `max_tags`: how many tags its trace may have."""

    def add_superseded(self, translated: TranslatedSpan, context: Context, /) -> None:
        """Adds what a copy of a span says that came without an end, after the whole span."""


Gathered_co = TypeVar("Gathered_co", bound=SpanValues, covariant=True)


class Gathering(Protocol[Gathered_co]):
    """What translation asks of a fold policy."""

    @property
    def enriches(self) -> bool:
        """Whether spans are given what `enrich.py` adds, and the note by which they can be read back."""

    def values(self) -> Gathered_co:
        """New ones, to gather what the spans of a part say."""


_Part = TypeVar("_Part", bound=SpanValues)


def to_parts(
    delivery: Delivery,
    repaired: Repairs,
    policy: Gathering[_Part],
    max_tags: int = MAX_TAGS,
    number: int = 0,
    dialects: Dialects | None = None,
    records: BySpan | None = None,
) -> list[TracePart[_Part]]:
    """One request → a part for each of its traces (and experiments), in the order in which MLflow would handle them.

    `number`: the index of the delivery in its batch. `dialects`: those by whose rules spans are read if the policy enriches;
    None: those that come with Headrace. `records`: the log records that belong to its spans.

    If a span id occurs twice, the later span wins and keeps the earlier one's position; but a span without an end does not take
    the place of a whole one. What MLflow would break on is repaired, and counted in `repaired` by the name of the rule.
    """
    parts: dict[tuple[str, bytes], TracePart[_Part]] = {}
    max_tags = min(max_tags, delivery.max_tags or max_tags)
    read_by = (dialects or known()) if policy.enriches else None
    for scope, experiment_id, context in _scopes(delivery, repaired, max_tags, read_by):
        for span in scope.spans:
            key = experiment_id, span.trace_id
            part = parts.get(key)
            if part is None:
                trace_id, values = to_trace_id(span.trace_id), policy.values()
                part = TracePart(trace_id, int(experiment_id), values, delivery.run_id, max_tags, delivery.limit, number)
                parts[key] = part
            of_span = records.get((span.trace_id, span.span_id), NOTHING_KEPT) if records else NOTHING_KEPT
            _add(part, to_row(part.trace_id, span, context, of_span), context)
    return list(parts.values())


def _scopes(
    delivery: Delivery, repaired: Repairs, max_tags: int, read_by: Dialects | None
) -> Iterator[tuple[ScopeSpans, str, Context]]:
    """The scopes of a request, in order; the experiment that each goes to; and what its spans share. `read_by`: without
    enrichment None."""
    enriches = read_by is not None
    for resource_spans, destination in zip(delivery.request.resource_spans, delivery.destinations, strict=True):
        tags = resource_tags(resource_spans.resource, repaired, max_tags, null=not enriches)
        service, indexed = known_service(resource_spans), indexed_service(resource_spans.resource)
        by_rule = destination.routed_by in (pb.ROUTED_BY_RULE, pb.ROUTED_BY_DEFAULT)
        for scope in resource_spans.scope_spans:
            enrichment = _enrichment(resource_spans, scope) if enriches else None
            context = Context(tags, service, by_rule, enrichment, repaired, delivery.received_unix_nano, indexed, read_by)
            yield scope, destination.experiment_id, context


def _enrichment(resource_spans: ResourceSpans, scope_spans: ScopeSpans) -> Enrichment:
    """What the spans of this scope share. The same few resources and scopes come with every request."""
    resource = resource_spans.resource.SerializeToString() if resource_spans.HasField("resource") else None
    scope = scope_spans.scope.SerializeToString() if scope_spans.HasField("scope") else None
    known = resource, resource_spans.schema_url, scope, scope_spans.schema_url
    return (_remembered if sum(map(len, filter(None, known))) <= MAX_CACHED_BYTES else _remembered.__wrapped__)(*known)


@lru_cache(maxsize=1024)
def _remembered(resource: bytes | None, resource_url: str, scope: bytes | None, scope_url: str) -> Enrichment:
    """The same, of a serialized resource and scope, or None where there is none. Nobody may change it.

    Takes up to 45 KiB each: what was sent, the origin, and the texts that are added.
    """
    scope_spans = ScopeSpans(scope=None if scope is None else InstrumentationScope.FromString(scope), schema_url=scope_url)
    message = ResourceSpans(
        resource=None if resource is None else Resource.FromString(resource), scope_spans=[scope_spans], schema_url=resource_url
    )
    return Enrichment(shared_attributes(message, scope_spans), origin_of(message), scope_spans.scope.name)


def _add(part: TracePart[_Part], translated: TranslatedSpan, context: Context) -> None:
    span, row, attributes, plain, unfinished, speaks, borrows = translated
    span_id, parent_id = row.span_id, row.parent_span_id
    if span_id in part.spans:
        context.repaired["duplicate_span"] += 1
        if unfinished and span_id not in part.unfinished:  # the whole span is here already
            part.values.add_superseded(translated, context)
            return
        part.unfinished.discard(span_id)
    if unfinished:
        part.unfinished.add(span_id)
    part.spans[span_id] = row
    part.sources[span_id] = context.indexed_service, span.kind
    if plain:
        part.nodes[span_id] = Node(span_id, parent_id, None, None)
    else:
        voice = to_voice(speaks, row.start_time_unix_nano, row.end_time_unix_nano) if speaks else None
        part.has_voices |= voice is not None
        part.nodes[span_id] = to_node(span_id, parent_id, attributes, voice, borrows)
    part.values.add(translated, context, part.max_tags)
    if context.enrichment is not None:
        origin = context.enrichment.origin
        part.origins[origin.digest] = origin.data
