"""What a web page that somebody has opened can do to the Headrace on his machine: nothing."""

from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from conftest import CloneDatabase, Running, launcher, rows
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

import otlp

PAGE = {"origin": "http://evil.example"}
REBOUND = {"host": "evil.example:4318"}
TYPES = ["application/x-protobuf", "application/json", "text/plain", "text/plain;charset=UTF-8", "multipart/form-data", ""]
PATHS = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1/traces/", "/v1/traces/v1/traces"]


@pytest.fixture(scope="module")
def local(clone_database: CloneDatabase) -> Iterator[tuple[Running, str]]:
    """A Headrace as it is by default: on 127.0.0.1, without keys. And the URL of its database."""
    with clone_database() as url, launcher() as launch:
        yield launch(database_url=url, default_experiment="Default"), url


def post(running: Running, path: str = "/v1/traces", **headers: str) -> httpx.Response:
    """A good request, with these headers."""
    body = otlp.request(otlp.span(), mlflow_experiment_name="made by a page").SerializeToString()
    return httpx.post(f"{running.url}{path}", content=body, headers=headers, timeout=30)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", TYPES)
def test_a_page_sends_nothing_whatever_it_calls_it(local: tuple[Running, str], content_type: str, path: str) -> None:
    running, url = local
    for more in (PAGE, {"origin": "null"}, PAGE | REBOUND, REBOUND):
        assert post(running, path, **{"content-type": content_type} | more).status_code == 403
    assert running.drained()
    assert rows(url, "SELECT 1 FROM experiments WHERE name = 'made by a page'") == []
    assert rows(url, "SELECT 1 FROM spans") == []


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz", "/openapi.json", "/", "/nothing"])
def test_a_page_whose_name_leads_here_reads_nothing(local: tuple[Running, str], path: str) -> None:
    running, _ = local
    answer = httpx.get(f"{running.url}{path}", headers=REBOUND)
    assert answer.status_code == 403
    assert "HEADRACE_ALLOWED_HOSTS" in answer.json()["message"]
    for name in ("localhost", "127.0.0.1:4318", "[::1]:4318"):
        assert httpx.get(f"{running.url}{path}", headers={"host": name}).status_code != 403


def test_over_grpc_a_page_sends_nothing(local: tuple[Running, str]) -> None:
    running, url = local
    with grpc.insecure_channel(running.grpc_url.removeprefix("http://")) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as refused:
            export(otlp.request(otlp.span()), metadata=list(PAGE.items()), timeout=30)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert rows(url, "SELECT 1 FROM spans") == []
