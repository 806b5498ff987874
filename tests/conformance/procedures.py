"""The cases that take more than one request, another endpoint, or a server in a state of its own."""

import base64
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from conftest import wait_until
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)

import otlp
from conformance.cases import PARENT, Procedures, one_span, span, spans_of
from conformance.stand import FORBIDDEN, GUARDED, MIB, ORIGIN, PLAIN, PRESSED, Server, Stand, request_of, texts
from conformance.wire import (
    GRPC,
    HTTP,
    JSON,
    RESPONSES,
    SERVICES,
    Outcome,
    Reply,
    Transport,
    encode,
    failed,
    judge,
    over_grpc,
    over_http,
)
from headrace.config import Config

shows = Procedures()


# The other signals.

METRICS = ExportMetricsServiceRequest(
    resource_metrics=[
        ResourceMetrics(
            scope_metrics=[
                ScopeMetrics(
                    metrics=[
                        Metric(name="g", gauge=Gauge(data_points=[NumberDataPoint(as_int=1), NumberDataPoint(as_double=2)])),
                        Metric(name="s", sum=Sum(data_points=[NumberDataPoint(as_int=1)])),
                        Metric(name="h", histogram=Histogram(data_points=[HistogramDataPoint(count=1)])),
                        Metric(
                            name="e",
                            exponential_histogram=ExponentialHistogram(data_points=[ExponentialHistogramDataPoint(count=1)]),
                        ),
                        Metric(name="q", summary=Summary(data_points=[SummaryDataPoint(count=1)])),
                        Metric(name="nothing"),
                    ]
                )
            ]
        )
    ]
)
LOGS = ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(), LogRecord()])])])


def send_signal(server: Server, transport: Transport, signal: str, body: bytes) -> Reply:
    """To another endpoint than the traces'."""
    if transport is GRPC:
        reply = over_grpc(server.channel, body, signal=signal)
    else:
        reply = over_http(server.client, f"{server.url}/v1/{signal}", transport, body, {}, signal)
    judge(reply)
    return reply


def in_proto_json(message: Message, transport: Transport) -> bytes:
    """A request of another signal, none of which holds an id here."""
    if transport is not JSON:
        return message.SerializeToString()
    return json_format.MessageToJson(message, use_integers_for_enums=True).encode()


@shows("L501", "L592", "L599", grpc_rules=("L413", "L231", "L239"))
def metrics(stand: Stand, transport: Transport) -> None:
    said = send_signal(stand[PLAIN], transport, "metrics", in_proto_json(METRICS, transport)).message.partial_success
    assert said.rejected_data_points == 6
    assert "6 of 6 data points rejected" in said.error_message
    assert "OTEL_METRICS_EXPORTER=none" in said.error_message


@shows("L501", "L592", "L599", grpc_rules=("L413", "L231", "L239"))
def logs(stand: Stand, transport: Transport) -> None:
    said = send_signal(stand[PLAIN], transport, "logs", in_proto_json(LOGS, transport)).message.partial_success
    assert said.rejected_log_records == 2
    assert "OTEL_LOGS_EXPORTER=none" in said.error_message


@shows("L572", "L501", grpc_rules=("L212", "L413"))
def empty_metrics_and_logs(stand: Stand, transport: Transport) -> None:
    for signal in ("metrics", "logs"):
        reply = send_signal(stand[PLAIN], transport, signal, b"{}" if transport is JSON else b"")
        assert reply.message == RESPONSES[signal]()


@shows("L655", "L501", grpc_rules=("L289", "L413"))
def bad_metrics_and_logs(stand: Stand, transport: Transport) -> None:
    for signal in ("metrics", "logs"):
        bodies = [b"\xff"]
        if transport is JSON:
            records = "resourceMetrics" if signal == "metrics" else "resourceLogs"
            bodies += [b"[" * 100_000, json.dumps({records: 7}).encode(), json.dumps({records: [7]}).encode()]
        for body in bodies:
            reply = send_signal(stand[PLAIN], transport, signal, body)
            assert reply.code == Outcome.BAD_DATA.code(transport)


@shows("L507", "L619", grpc_rules=("L413", "L309"))
def profiles(stand: Stand, transport: Transport) -> None:
    server = stand[PLAIN]
    if transport is GRPC:
        service = "opentelemetry.proto.collector.profiles.v1development.ProfilesService"
        for method in (f"/{service}/Export", f"/{SERVICES['traces']}/Import"):
            reply = over_grpc(server.channel, b"", method=method)
            assert reply.code == grpc.StatusCode.UNIMPLEMENTED
    else:
        reply = over_http(server.client, f"{server.url}/v1development/profiles", transport, b"", {})
        assert reply.code == 404
    judge(reply)


@shows("L605", "L607", grpc_rules=("L245", "L247"))
def deleted_experiment(stand: Stand, transport: Transport) -> None:
    """Nobody sees the spans there until it is restored: they are stored, and their sender is warned."""
    server, trace_id = stand[PLAIN], os.urandom(16)
    make = (
        "INSERT INTO experiments (name, lifecycle_stage, workspace) VALUES (%s, 'deleted', 'default') RETURNING experiment_id"
    )
    (row,) = server.rows(make, f"deleted {trace_id.hex()}")
    headers = {"x-mlflow-experiment-id": str(row["experiment_id"])}
    said = server.send(transport, encode(one_span(trace_id), transport), headers=headers, warned=True).message.partial_success
    assert said.rejected_spans == 0
    assert "1 spans accepted, but their experiment is deleted in MLflow" in said.error_message
    assert "restore it, or name another" in said.error_message
    assert server.stored(trace_id) == texts(one_span(trace_id).resource_spans)


# Again, and all at once.

_OF_A_TRACE = """
    SELECT table_name, column_name
    FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name IN ('trace_id', 'request_id')
"""


def everything_of(server: Server, trace_id: bytes) -> set[str]:
    """All that MLflow's tables say of a trace: `table.column = value`, of every row."""
    server.drain()
    return {
        f"{table['table_name']}.{column} = {value}"
        for table in server.rows(_OF_A_TRACE)
        for row in server.rows(
            f"SELECT * FROM {table['table_name']} WHERE {table['column_name']} = %s",
            f"tr-{trace_id.hex()}",
        )
        for column, value in row.items()
        if column != "db_payload_generation"  # MLflow's count of the writes
    }


@shows("L755")
def sent_twice(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    spans = [span(trace_id, span_id=PARENT), *spans_of(trace_id, 4)]
    body = encode(request_of(*spans), transport)
    stand[PLAIN].send(transport, body)
    once = everything_of(stand[PLAIN], trace_id)
    assert len({line for line in once if line.startswith("spans.span_id = ")}) == 5
    assert stand[PLAIN].send(transport, body).code == Outcome.OK.code(transport)
    assert everything_of(stand[PLAIN], trace_id) == once


@shows("L755")
def twice_in_one_request(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    stand[PLAIN].send(transport, encode(request_of(span(trace_id), span(trace_id)), transport))
    stand[PLAIN].assert_stored(trace_id, span(trace_id))


@shows("L707", grpc_rules=("L149",))
def a_hundred_at_once(stand: Stand, transport: Transport) -> None:
    """Over one connection of gRPC, over twenty of HTTP."""
    trace_id = os.urandom(16)
    spans = spans_of(trace_id, 100)
    server = stand[PLAIN]
    bodies = [encode(request_of(one), transport) for one in spans]
    if transport is GRPC:
        call = server.channel.unary_unary(f"/{SERVICES['traces']}/Export", bytes, bytes)
        calls = [call.future(body, timeout=30) for body in bodies]
        assert [one.result() for one in calls] == [b""] * 100
    else:
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda body: server.send(transport, body), bodies))
        assert [reply.code for reply in replies] == [200] * 100
    server.assert_stored(trace_id, *spans)


# Overload.


@shows("L666", "L667", "L634", "L642", grpc_rules=("L351", "L270", "L407"))
def full_queue(stand: Stand, transport: Transport) -> None:
    reply = stand[PRESSED].send(transport, encode(request_of(otlp.span("x" * 300_000)), transport))
    assert reply.code == Outcome.OVERLOADED.code(transport)
    assert "HEADRACE_QUEUE_MAX_BYTES" in reply.status.message


@shows("L666", "L667", grpc_rules=("L351", "L270", "L407"))
def too_much_in_memory(stand: Stand, transport: Transport) -> None:
    reply = stand[PRESSED].send(transport, bytes(MIB + 1))
    assert reply.code == Outcome.OVERLOADED.code(transport)
    assert "HEADRACE_MAX_IN_FLIGHT_BYTES" in reply.status.message


@shows("L666", "L667", "L634", grpc_rules=("L351", "L270", "L407"))
def over_the_rate(stand: Stand, transport: Transport) -> None:
    """One span, or byte, a second: a first batch is taken whole, the next one waits until that is paid."""
    trace_id = os.urandom(16)
    for name in ("spans", "bytes"):
        headers = {"authorization": f"Bearer {stand.keys_of(GUARDED)[name]}"}
        replies = [
            stand[GUARDED].send(transport, encode(request_of(*spans_of(trace_id, 500)), transport), headers=headers)
            for _ in range(2)
        ]
        assert replies[-1].code == Outcome.LIMITED.code(transport)
        assert f"the API key's {name} a second" in replies[-1].status.message


# API keys.


@shows("keys", "L619", "L642", grpc_rules=("keys", "L309"))
def no_key_or_a_wrong_one(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    secret = stand.keys_of(GUARDED)["all"]
    for sent in ({}, {"authorization": f"Bearer {secret[:-1]}"}, {"x-api-key": "headrace_"}, {"authorization": "Basic ?"}):
        reply = stand[GUARDED].send(transport, encode(one_span(trace_id), transport), headers=sent)
        assert reply.code == Outcome.UNAUTHENTICATED.code(transport)
        assert "key" in reply.status.message
        assert transport is GRPC or reply.headers["www-authenticate"] == 'Bearer realm="headrace"'
    stand[GUARDED].assert_stored(trace_id)


@shows("keys")
def a_good_key(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    secret = stand.keys_of(GUARDED)["all"]
    spans = spans_of(trace_id, 3)
    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    ways = ({"authorization": f"bearer {secret}"}, {"x-api-key": secret}, {"authorization": f"Basic {basic}"})
    for one, sent in zip(spans, ways, strict=True):
        reply = stand[GUARDED].send(transport, encode(request_of(one), transport), headers=sent)
        assert reply.code == Outcome.OK.code(transport)
    stand[GUARDED].assert_stored(trace_id, *spans)


@shows("keys", "L619", "L544", grpc_rules=("keys", "L309", "L193"))
def a_forbidden_experiment(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    headers = {"authorization": f"Bearer {stand.keys_of(GUARDED)['elsewhere']}"}
    reply = stand[GUARDED].send(transport, encode(one_span(trace_id), transport), headers=headers)
    assert reply.code == Outcome.FORBIDDEN.code(transport)
    assert FORBIDDEN in reply.status.message
    stand[GUARDED].assert_stored(trace_id)


# Browsers.


def ask(server: Server, method: str, **headers: str) -> Any:
    """Sends headers whose underscores are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.request(method, f"{server.url}/v1/traces", headers=named)


@shows("cors", over=HTTP)
def preflight(stand: Stand, transport: Transport) -> None:
    wants = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "content-type,x-mlflow-experiment-id,authorization",
    }
    answer = ask(stand[GUARDED], "OPTIONS", origin=ORIGIN, **wants)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("content-type", "x-mlflow-experiment-id", "authorization"))
    assert "access-control-allow-origin" not in ask(stand[GUARDED], "OPTIONS", origin="https://evil.example", **wants).headers
    assert "access-control-allow-origin" not in ask(stand[PLAIN], "OPTIONS", origin=ORIGIN, **wants).headers


@shows("cors", over=HTTP)
def answers_and_errors(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    good = encode(one_span(trace_id), transport)
    key = {"authorization": f"Bearer {stand.keys_of(GUARDED)['all']}"}
    for body, sent, code in ((good, key, 200), (b"\xff", key, 400), (good, {}, 401), (bytes(MIB + 1), key, 413)):
        reply = stand[GUARDED].send(transport, body, headers={**sent, "origin": ORIGIN})
        assert reply.code == code
        assert reply.headers["access-control-allow-origin"] == ORIGIN
        assert "retry-after" in reply.headers["access-control-expose-headers"].lower()
        other = stand[GUARDED].send(transport, body, headers={**sent, "origin": f"{ORIGIN}.evil"})
        assert "access-control-allow-origin" not in other.headers
        assert other.code == 403
    stand[GUARDED].assert_stored(trace_id, span(trace_id))
    plain = stand[PLAIN].send(transport, good, headers={"origin": ORIGIN})
    assert plain.code == 403, plain
    assert "HEADRACE_CORS_ORIGINS" in plain.status.message
    assert "access-control-allow-origin" not in plain.headers


# What is seen of it.


@shows("health", over=(GRPC,))
def health(stand: Stand, transport: Transport) -> None:
    stub = health_pb2_grpc.HealthStub(stand[PLAIN].channel)
    requests = [health_pb2.HealthCheckRequest(service=service) for service in ("", *SERVICES.values())]
    serving = health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: all(stub.Check(request).status == serving for request in requests), 10, "all services serve")
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert failed(caught.value).code == grpc.StatusCode.NOT_FOUND


@shows("common-L42", broken="the reference's number is shown as the attribute's value, as MLflow's own endpoint does")
def reference_as_value(stand: Stand, transport: Transport) -> None:
    trace_id = os.urandom(16)
    message = one_span(trace_id)
    attributes = message.resource_spans[0].scope_spans[0].spans[0].attributes
    attributes.add(key="k", value=AnyValue(string_value_strindex=5))
    assert stand[PLAIN].send(transport, encode(message, transport)).code == Outcome.OK.code(transport)
    stand[PLAIN].drain()
    (row,) = stand[PLAIN].rows("SELECT content FROM spans WHERE trace_id = %s", f"tr-{trace_id.hex()}")
    assert json.loads(row["content"])["attributes"].get("k", "null") in ("null", '""')


@shows("L423", over=(GRPC,))
def port_4317(stand: Stand, transport: Transport) -> None:
    assert Config.model_fields["grpc_port"].default == 4317


@shows("L713", over=HTTP)
def port_4318(stand: Stand, transport: Transport) -> None:
    assert Config.model_fields["http_port"].default == 4318


@shows("L701", over=HTTP)
def ports_are_two(stand: Stand, transport: Transport) -> None:
    assert stand[PLAIN].running.url != stand[PLAIN].running.grpc_url
    with pytest.raises(grpc.RpcError), grpc.insecure_channel(stand[PLAIN].running.url.removeprefix("http://")) as channel:
        channel.unary_unary(f"/{SERVICES['traces']}/Export", bytes, bytes)(b"", timeout=5)
    assert stand[PLAIN].send(transport, encode(one_span(os.urandom(16)), transport)).code == 200


@shows("hostile-json", "L615", grpc_rules=("hostile-json",))
def nothing_is_left_behind(stand: Stand, transport: Transport) -> None:
    """After all of the above: no 500, no dead letter, and the receiver takes spans."""
    server = stand[PLAIN]
    trace_id = os.urandom(16)
    assert server.send(transport, encode(one_span(trace_id), transport)).code == Outcome.OK.code(transport)
    server.assert_stored(trace_id, span(trace_id))
    assert server.rows("SELECT reason FROM headrace.dead_letter") == []
    metrics = server.client.get(f"{server.url}/metrics").text
    assert not re.search(r'^headrace_requests_total\{code="(500|INTERNAL|UNKNOWN)".* [1-9]', metrics, re.MULTILINE)
