"""Writes requests with the bulk writer, which keeps the index beside them; and reads the index."""

from typing import Any

from conftest import rows
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database
from otlp import SECOND, START, request, span

TRACE = b"\1" * 16
TABLES = ("operation", "trace_service", "origin_service", "waiting_call")

Sent = tuple[int, ExportTraceServiceRequest]
"""An experiment, and a request for it."""


def write(database: Database, *batch: Sent, writer: BulkWriter | None = None) -> None:
    """One batch. Without `writer`: by a new one, which enriches."""
    writer = writer or BulkWriter(database, enrich=True)
    writer.write(writer.translate([_delivery(sent) for sent in batch]))


def _delivery(sent: Sent) -> Delivery:
    experiment, request = sent
    destinations = tuple(pb.Destination(experiment_id=str(experiment)) for _ in request.resource_spans)
    return Delivery(ExportTraceServiceRequest.FromString(request.SerializeToString()), destinations, "", 0, "")


def shop() -> list[Sent]:
    """web → pay → bank, and pay → pay; one call fails; each span in a request of its own."""
    root = span("buy", TRACE, b"\1" * 8, start=START, end=START + 9 * SECOND)
    failed = Status(code=2)  # type: ignore[arg-type]
    charge = span("charge", TRACE, b"\2" * 8, b"\1" * 8, START, START + 5 * SECOND, status=failed)
    inner = span("check", TRACE, b"\3" * 8, b"\2" * 8)
    book = span("book", TRACE, b"\4" * 8, b"\3" * 8, START, START + 2 * SECOND)
    services = ("web", root), ("pay", charge), ("pay", inner), ("bank", book)
    return [(0, request(each, service=service)) for service, each in services]


def edges(url: str) -> list[tuple[Any, ...]]:
    """Caller, callee, calls, errors and nanoseconds, for each hour and experiment. The days say the same."""
    hours = _edges(url, "edge", "hour")
    by_day = _edges(url, "edge", "floor(hour / 24.0)::int")
    assert _edges(url, "edge_day", "day") == by_day
    return hours


def _edges(url: str, table: str, time: str) -> list[tuple[Any, ...]]:
    query = (
        "SELECT caller, callee, sum(calls)::int AS a, sum(errors)::int AS b, sum(duration_ns)::bigint AS c "
        f"FROM headrace.{table} GROUP BY {time}, experiment_id, caller, callee ORDER BY {time}, experiment_id, caller, callee"
    )
    return [tuple(row.values()) for row in rows(url, query)]


def index(url: str) -> dict[str, list[dict[str, Any]]]:
    """All but the edges, ordered."""
    return {
        table: sorted(rows(url, f"SELECT * FROM headrace.{table}"), key=lambda row: list(map(str, row.values())))
        for table in TABLES
    }
