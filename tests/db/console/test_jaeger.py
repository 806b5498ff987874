"""Jaeger's storage API over a real Postgres, asked by a grpcio client as Jaeger asks it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from contracts.trace_reader import ONE, THREE, TWO, shop
from indexing import write
from jaeger import JaegerClient
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from db.reader.test_contract import fill
from headrace.config import Config, load
from headrace.console.access import Access
from headrace.console.jaeger import JaegerServer
from headrace.console.jaeger import capabilities_pb2 as capabilities
from headrace.console.jaeger import dependency_storage_pb2 as dependency
from headrace.console.jaeger import trace_storage_pb2 as storage
from headrace.reader.postgres import PostgresReader
from headrace.receiver.auth import Keys, new_key
from headrace.store.database import Database
from otlp import SECOND, START, request, span

Client = Callable[..., JaegerClient]


@contextmanager
def serving(url: str, config: Config, keys: Keys | None = None) -> Iterator[Client]:
    """A server in a thread of its own → what makes clients of it, each with its metadata."""
    reader = PostgresReader(url, config)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> "tuple[JaegerServer, int]":
        server = JaegerServer(config, reader, Access(keys))
        return server, await server.start()

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield lambda **metadata: JaegerClient(channel, **metadata)
    asyncio.run_coroutine_threadsafe(server.stop(1), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    reader.close()


def settings(**changed: Any) -> Config:
    return Config.model_construct(**load().model_dump() | {"jaeger_port": 0} | changed)


@pytest.fixture(scope="module")
def filled(shared_url: str) -> "tuple[str, int]":
    """The shop of the reader's contract; and the id of its second experiment."""
    return shared_url, fill(shared_url, shop())


@pytest.fixture(scope="module")
def client(filled: "tuple[str, int]") -> Iterator[Client]:
    """Clients of a server that asks for no key."""
    with serving(filled[0], settings()) as made:
        yield made


def names(messages: list[TracesData]) -> set[str]:
    return {
        each.name
        for message in messages
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for each in scope.spans
    }


def test_a_trace(client: Client) -> None:
    assert names(client().trace(TWO)) == {"buy", "charge", "book"}
    for unknown in (b"\7" * 16, b"", b"\1", bytes(17)):
        assert client().trace(unknown) == []


def test_services_operations_and_dependencies(client: Client) -> None:
    assert list(client().ask("GetServices", storage.GetServicesRequest()).services) == ["bank", "pay", "web"]
    for kind, expected in (("", [("charge", "server")]), ("server", [("charge", "server")]), ("client", []), ("odd", [])):
        answer = client().ask("GetOperations", storage.GetOperationsRequest(service="pay", span_kind=kind))
        assert [(each.name, each.span_kind) for each in answer.operations] == expected
    asked = dependency.GetDependenciesRequest()
    asked.start_time.FromNanoseconds(START - 7 * 86_400 * SECOND)
    asked.end_time.FromNanoseconds(START + SECOND)
    found = client().ask("GetDependencies", asked).dependencies
    assert [(each.parent, each.child, each.call_count) for each in found] == [("pay", "bank", 2), ("web", "pay", 3)]


def test_search(client: Client) -> None:
    assert client().found() == ["03", "02", "01"]
    assert client().found(service_name="bank", search_depth=1) == ["02"]
    assert client().found(service_name="pay", attributes={"error": "true"}) == ["02"]
    assert client().found(attributes={"user": "u0"}) == ["01"]
    query = storage.TraceQueryParameters(service_name="bank")
    ids = client().ask("FindTraceIDs", storage.FindTraceIDsRequest(query=query)).trace_ids
    assert [(each.trace_id, each.start.ToNanoseconds()) for each in ids] == [(TWO, START + 60 * SECOND), (ONE, START)]
    (page,) = client().stream("FindTraceSummaries", storage.FindTraceSummariesRequest(query=query))
    assert [(each.trace_id, each.span_count, each.error_span_count) for each in page.summaries] == [(TWO, 3, 1), (ONE, 3, 0)]
    none = storage.FindTraceSummariesRequest(query=storage.TraceQueryParameters(service_name="nobody"))
    assert client().stream("FindTraceSummaries", none) == []


def test_what_the_search_can_do_and_what_not(client: Client) -> None:
    can = client().ask("GetCapabilities", capabilities.GetCapabilitiesRequest()).search
    assert can == capabilities.SearchCapabilities(without_service_name=True, same_span_conjunction=True)
    for field in (b"\x4a\x00", b"\x52\x02\x08\x05"):  # `filter` and `pagination` of later versions
        query = storage.TraceQueryParameters.FromString(field)
        with pytest.raises(grpc.RpcError, match="which Headrace does not serve"):
            client().stream("FindTraces", storage.FindTracesRequest(query=query))


def test_an_experiment_is_named_by_tenant_or_by_tag(client: Client, filled: "tuple[str, int]") -> None:
    for name in ("other", str(filled[1])):
        assert client(x_tenant=name).found() == client().found(attributes={"mlflow.experiment": name}) == ["03"]
        assert client(x_tenant=name).trace(ONE) == []
        assert list(client(x_tenant=name).ask("GetServices", storage.GetServicesRequest()).services) == ["pay", "web"]
    assert client(x_tenant="other").found(attributes={"mlflow.experiment": "0"}) == []
    assert client(x_tenant="nobody").found() == []


def test_a_key_sees_its_experiments_only(filled: "tuple[str, int]", tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    limited, secret = new_key("team", experiments=("other",))
    everything, master = new_key("master")
    keys.add(limited)
    keys.add(everything)
    with serving(filled[0], settings(), keys) as client:
        for wrong in ({}, {"authorization": "Bearer headrace_0_x"}, {"bearer.token": "headrace_0_x"}, {"bearer.token": ""}):
            with pytest.raises(grpc.RpcError) as refused:
                client(**wrong).found()
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        team, all_ = client(authorization=f"Bearer {secret}"), client(authorization=f"Bearer {master}")
        assert team.found() == client(**{"bearer.token": secret}).found() == ["03"]  # as Jaeger passes it on
        assert team.trace(ONE) == team.found(attributes={"mlflow.experiment": "0"}) == []
        assert client(authorization=f"Bearer {secret}", x_tenant="0").found() == []
        assert names(team.trace(THREE)) == {"buy", "charge"}
        assert all_.found() == ["03", "02", "01"]


def test_a_trace_of_many_megabytes_comes_in_messages_that_a_client_takes(database: Database, database_url: str) -> None:
    """grpcio's own limit of 4 MiB is left as it is."""
    trace_id = b"\5" * 16
    large = {"x": "y" * 100_000}
    for part in range(4):
        spans = (
            span(
                f"{part}-{number}",
                trace_id,
                bytes([part + 1, number + 1]) * 4,
                start=START + number,
                attrs=large,
            )
            for number in range(40)
        )
        write(database, (0, request(*spans)))
    with serving(database_url, settings()) as client:
        messages = client().trace(trace_id)
        assert len(names(messages)) == 160
        assert len(messages) > 5
    with serving(database_url, settings(read_max_bytes=2 * 1024 * 1024)) as client:
        assert 0 < len(names(client().trace(trace_id))) < 40


def test_what_is_no_question_is_refused(client: Client) -> None:
    class Odd:
        @staticmethod
        def SerializeToString(value: Any) -> bytes:  # noqa: N802
            return bytes(value.body)

        def __init__(self, body: bytes) -> None:
            self.body = body

    for body in (b"\xff", b"\x0a" + b"\xff" * 9, bytes(100_000)):
        with pytest.raises(grpc.RpcError) as refused:
            client().stream("GetTraces", Odd(body))  # type: ignore[arg-type]
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    many = storage.GetTracesRequest(query=[storage.GetTraceParams(trace_id=b"x")] * 101)
    with pytest.raises(grpc.RpcError, match="100 at most"):
        client().stream("GetTraces", many)
