"""Takes records out of a message."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from headrace.otlp.form import SPANS, Form


def replace_spans(scope: ScopeSpans, spans: Sequence[Span]) -> None:
    """Takes out all spans in one pass. To delete them from a repeated field one by one would take time in the square of its
    length."""
    kept = ScopeSpans(spans=spans)
    scope.ClearField("spans")
    scope.spans.MergeFrom(kept.spans)


def drop_empty(message: Any, form: Form = SPANS) -> None:
    """Takes out scopes and resources without records, so that they need no destination. (OTLP: "MAY ignore" them.)"""
    if not has_empty(message, form):
        return
    kept = form.request()
    for resource in form.resources_of(message):
        if scopes := [scope for scope in getattr(resource, form.scopes) if getattr(scope, form.items)]:
            copy = getattr(kept, form.resources).add(schema_url=resource.schema_url)
            getattr(copy, form.scopes).extend(scopes)
            if resource.HasField("resource"):
                copy.resource.CopyFrom(resource.resource)
    message.CopyFrom(kept)


def has_empty(message: Any, form: Form = SPANS) -> bool:
    """Whether a scope or a resource has no records."""
    return not all(
        len(getattr(resource, form.scopes)) > 0 and all(getattr(scope, form.items) for scope in getattr(resource, form.scopes))
        for resource in form.resources_of(message)
    )
