"""A deleted experiment: one rule by id and by name, over each transport, before and after the cache knows; and it is told."""

import json
from collections.abc import Iterator

import grpc
import psycopg
import pytest
from conftest import Running, launcher, rows, wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

import otlp
from headrace.otlp.json_encoding import encode_json


@pytest.fixture(scope="module")
def running(shared_url: str) -> Iterator[Running]:
    with launcher() as launch:
        yield launch(database_url=shared_url)


def send(running: Running, transport: str, header: str, value: str) -> tuple[str, str]:
    """Sends one span there. Returns its trace's id and the words of the answer, which is a success."""
    message = otlp.request(otlp.span())
    trace_id = otlp.trace_id_of(message.resource_spans[0].scope_spans[0].spans[0])
    if transport == "grpc":
        with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
            stub = TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            answer = stub.Export(message, metadata=[(header, value)], timeout=20)
            return trace_id, answer.partial_success.error_message
    if transport == "json":
        reply = running.post(json.dumps(encode_json(message)).encode(), "application/json", **{header: value})
        assert reply.status_code == 200
        return trace_id, reply.json().get("partialSuccess", {}).get("errorMessage", "")
    reply = running.post(message.SerializeToString(), **{header: value})
    assert reply.status_code == 200
    return trace_id, ExportTraceServiceResponse.FromString(reply.content).partial_success.error_message


def set_stage(url: str, name: str, stage: str) -> int:
    with psycopg.connect(url) as connection:
        query = "UPDATE experiments SET lifecycle_stage = %s WHERE name = %s RETURNING experiment_id"
        (id_,) = connection.execute(query, (stage, name)).fetchone() or (0,)
        return int(id_)


@pytest.mark.parametrize("transport", ["protobuf", "json", "grpc"])
def test_it_takes_spans_and_its_client_is_told(running: Running, shared_url: str, transport: str) -> None:
    name = f"shop over {transport}"
    sent = [send(running, transport, "x-mlflow-experiment-name", name)]
    assert sent[0][1] == ""
    id_ = set_stage(shared_url, name, "deleted")
    sent.append(send(running, transport, "x-mlflow-experiment-id", str(id_)))  # the cache knows it by its name only
    assert "1 spans accepted, but their experiment is deleted in MLflow" in sent[1][1]

    def told() -> bool:
        """By its name, which the cache has known before it was deleted."""
        sent.append(send(running, transport, "x-mlflow-experiment-name", name))
        return "is deleted in MLflow" in sent[-1][1]

    wait_until(told, 10, "a warning")
    set_stage(shared_url, name, "active")
    wait_until(lambda: not told(), 10, "no warning any more")
    wait_until(running.drained)
    found = rows(shared_url, "SELECT request_id FROM trace_info WHERE experiment_id = %s", id_)
    assert {row["request_id"] for row in found} == {trace_id for trace_id, _ in sent}
