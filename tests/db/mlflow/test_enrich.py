"""Enrichment: what is added, and that nothing of the client's is overwritten."""

import json
from typing import Any

import psycopg
import pytest
from conftest import rows
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database


def store(database: Database, *spans: Span, enrich: bool = True, service: str = "checkout") -> None:
    request = otlp.request(*spans, service=service)
    scope = InstrumentationScope(name="io.opentelemetry.tomcat-10.0", version="2.1.0")
    request.resource_spans[0].scope_spans[0].scope.CopyFrom(scope)
    writer = BulkWriter(database, enrich)
    writer.write(writer.translate([Delivery(request, (pb.Destination(experiment_id="0"),), "", 0, "")]))


def only_trace(url: str) -> dict[str, Any]:
    (row,) = rows(url, "SELECT * FROM trace_info")
    return row


def attributes_of(url: str, span: Span) -> dict[str, Any]:
    (row,) = rows(url, "SELECT content FROM spans WHERE span_id = %s", span.span_id.hex())
    return {key: json.loads(value) for key, value in json.loads(row["content"])["attributes"].items()}


@pytest.mark.parametrize(
    ("name", "attrs", "fields", "request_preview", "response_preview"),
    [
        ("GET", {"http.request.method": "GET", "http.route": "/cart/{id}", "http.response.status_code": 200}, {},
         "GET /cart/{id}", "200"),
        ("POST /checkout", {"http.method": "POST", "http.status_code": 201}, {}, "POST /checkout", "201"),
        ("query", {"db.operation.name": "SELECT", "db.collection.name": "orders"}, {}, "SELECT orders", "OK"),
        ("nightly job", {}, {}, "nightly job", "OK"),
        ("job", {}, {"status": {"code": 2, "message": "out of memory"}}, "job", "ERROR: out of memory"),
        ("job", {"error.type": "timeout"}, {"status": {"code": 2}}, "job", "ERROR: timeout"),
        ("job", {}, {"status": {"code": 2}, "events": [Span.Event(name="exception", attributes=otlp.attributes(
            {"exception.type": "ValueError", "exception.message": "no"}))]}, "job", "ERROR: ValueError: no"),
        ("x" * 5000, {}, {}, "x" * 997 + "...", "OK"),
        ("NUL \x00", {}, {}, "NUL \ufffd", "OK"),
    ],
)  # fmt: skip
def test_a_root_without_inputs_reads_at_a_glance(
    database: Database,
    database_url: str,
    name: str,
    attrs: dict[str, Any],
    fields: dict[str, Any],
    request_preview: str,
    response_preview: str,
) -> None:
    store(database, otlp.span(name, attrs=attrs, **fields))
    trace = only_trace(database_url)
    assert trace["request_preview"] == request_preview
    assert trace["response_preview"] == response_preview
    assert trace["trace_name"] == name.replace("\0", "\ufffd")[:4096]


def test_inputs_and_a_given_name_stay(database: Database, database_url: str) -> None:
    given = {"mlflow.spanInputs": '{"q": 1}', "mlflow.spanOutputs": "done", "mlflow.traceTag.mlflow.traceName": "mine"}
    store(database, otlp.span("POST /ask", attrs=given | {"http.request.method": "POST"}))
    trace = only_trace(database_url)
    assert (trace["request_preview"], trace["response_preview"], trace["trace_name"]) == ('{"q": 1}', "done", "mine")


def test_a_trace_is_named_when_its_root_comes(database: Database, database_url: str) -> None:
    trace_id = b"t" * 16
    store(database, otlp.span("child", trace_id, parent=b"r" * 8))
    assert only_trace(database_url)["trace_name"] is None
    store(database, otlp.span("root", trace_id, b"r" * 8))
    trace = only_trace(database_url)
    assert (trace["trace_name"], trace["request_preview"], trace["response_preview"]) == ("root", "root", "OK")


def test_the_column_type_is_filled_from_the_translation(database: Database, database_url: str) -> None:
    store(database, otlp.span("chat", attrs={"gen_ai.operation.name": "chat"}), otlp.span("plain"))
    types = {row["name"]: row["type"] for row in rows(database_url, "SELECT name, type FROM spans")}
    assert types == {"chat": "CHAT_MODEL", "plain": None}


@pytest.mark.parametrize(("sent", "stored"), [("LLM", "LLM"), ('"LLM"', "LLM"), ("null", None), (None, None), ("mine", "mine")])
def test_the_column_type_is_what_mlflow_s_client_means(database: Database, database_url: str, sent: Any, stored: Any) -> None:
    store(database, otlp.span("s", attrs={"mlflow.spanType": sent}))
    (row,) = rows(database_url, "SELECT type FROM spans")
    assert row["type"] == stored


def test_what_mlflow_s_client_reported_of_a_finished_trace_stands(database: Database, database_url: str) -> None:
    span = otlp.span("root", attrs={"user.id": "of the span", "session.id": "of the span"})
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status, db_payload_generation,"
            " session_id, trace_name, request_preview) VALUES (%s, 0, 1, 2, 'OK', 0, 'reported', 'reported', 'reported')",
            (otlp.trace_id_of(span),),
        )
        for key, value in (("mlflow.trace.infoFinalized", "true"), ("mlflow.trace.user", "reported")):
            connection.execute(
                "INSERT INTO trace_request_metadata (request_id, key, value) VALUES (%s, %s, %s)",
                (otlp.trace_id_of(span), key, value),
            )
    store(database, otlp.span("child", span.trace_id, parent=span.span_id, attrs={"user.id": "a", "session.id": "a"}))
    store(database, span)
    trace = only_trace(database_url)
    assert (trace["session_id"], trace["trace_name"], trace["request_preview"]) == ("reported",) * 3
    assert (trace["timestamp_ms"], trace["execution_time_ms"]) == (1, 2)
    (user,) = rows(database_url, "SELECT value FROM trace_request_metadata WHERE key = 'mlflow.trace.user'")
    assert user["value"] == "reported"


@pytest.mark.parametrize("attrs", [{"a": 1}, {"gen_ai.operation.name": "chat"}])
def test_kind_scope_service_and_the_rest_are_kept(database: Database, database_url: str, attrs: dict[str, Any]) -> None:
    span = otlp.span("s", attrs=attrs, kind=2, trace_state="vendor=1", dropped_attributes_count=3, dropped_links_count=1)
    store(database, span)
    found = attributes_of(database_url, span)
    assert found["span.kind"] == "server"
    assert found["service.name"] == "checkout"
    assert found["otel.scope.name"] == "io.opentelemetry.tomcat-10.0"
    assert found["otel.scope.version"] == "2.1.0"
    assert found["otel.trace_state"] == "vendor=1"
    assert found["otel.dropped_attributes_count"] == 3
    assert found["otel.dropped_links_count"] == 1
    assert "otel.dropped_events_count" not in found


def test_nothing_of_the_client_s_is_overwritten(database: Database, database_url: str) -> None:
    span = otlp.span("s", attrs={"span.kind": "mine", "service.name": "mine", "otel.scope.name": "mine"}, kind=2)
    store(database, span)
    found = attributes_of(database_url, span)
    assert found["span.kind"] == found["service.name"] == found["otel.scope.name"] == "mine"


def test_switched_off_nothing_is_added(database: Database, database_url: str) -> None:
    span = otlp.span("s", kind=2)
    store(database, span, enrich=False)
    assert set(attributes_of(database_url, span)) == {"mlflow.traceRequestId"}
    trace = only_trace(database_url)
    assert (trace["request_preview"], trace["response_preview"], trace["trace_name"]) == (None, None, None)
