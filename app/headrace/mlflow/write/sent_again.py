"""Spans as they are stored → the requests that would write them again, just as they are."""

from collections.abc import Collection
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.origin import CHOSEN_BY_RULE
from headrace.mlflow.translate.readback import to_span
from headrace.mlflow.write.joining import LOG_STATEMENTS, Key, read_spans
from headrace.mlflow.write.statements import STATEMENTS, Rows


class StoredSpan(NamedTuple):
    """A span as Postgres holds it, and the request that would bring it again."""

    key: Key
    content: str
    delivery: Delivery


def read_stored_spans(cursor: Rows, keys: Collection[Key]) -> list[StoredSpan]:
    """Those of these spans that are stored with a note of how they were sent, in order."""
    contents = read_spans(cursor, keys)
    parsed = {key: found for key, content in contents.items() if (found := to_object(content)) and found.get("otlp")}
    if not parsed:
        return []
    cursor.execute(LOG_STATEMENTS["read_standing"], {"ids": sorted({trace_id for trace_id, _ in parsed})})
    experiments: dict[str, int] = dict(cursor.fetchall())
    cursor.execute(STATEMENTS["read_origins"], {"digests": sorted({found["otlp"]["origin"] for found in parsed.values()})})
    origins: dict[str, bytes] = dict(cursor.fetchall())
    return [
        StoredSpan(key, contents[key], _delivery(found, origins[found["otlp"]["origin"]], experiments[key[0]]))
        for key, found in sorted(parsed.items(), key=lambda item: item[0])
        if key[0] in experiments and found["otlp"]["origin"] in origins
    ]


def _delivery(content: dict[str, Any], origin: bytes, experiment: int) -> Delivery:
    """A request with this one span. Only a root's word on its experiment counts again; that of others is remembered."""
    resource_spans = ResourceSpans.FromString(origin)
    span = to_span(content)
    resource_spans.scope_spans[0].spans.append(span)
    named = not span.parent_span_id.strip(b"\0") and CHOSEN_BY_RULE not in content["otlp"]
    destination = pb.Destination(experiment_id=str(experiment), routed_by=pb.ROUTED_BY_HEADER if named else pb.ROUTED_BY_RULE)
    request = ExportTraceServiceRequest(resource_spans=[resource_spans])
    return Delivery(request, (destination,), "", content["start_time_unix_nano"], "")
