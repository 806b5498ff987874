"""What an operator reads of clients that are refused, or came to the wrong port: who, why, and where to go."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from authority import Authority
from conftest import Launcher, Running, launcher, wait_until

import otlp
from system.receiver.test_tls import secured, trusting

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BODY = otlp.request(otlp.span()).SerializeToString()
ID = {"x-mlflow-experiment-id": "0"}


def events(running: Running, name: str) -> list[dict[str, Any]]:
    """The events of this name in the log."""
    lines = running.log.read_text().splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in logged if event["event"] == name]


def one(running: Running, name: str, **fields: str) -> dict[str, Any]:
    """The one event of this name with these fields."""

    def found() -> list[dict[str, Any]]:
        return [event for event in events(running, name) if fields.items() <= event.items()]

    (event,) = wait_until(found, what=f"{name} {fields} in {running.log.read_text()}")
    return dict(event)


@pytest.fixture
def running(headrace: Launcher, database_url: str) -> Running:
    return headrace(database_url=database_url)


@pytest.fixture(scope="module")
def shared(shared_url: str) -> Iterator[Running]:
    with launcher() as launch:
        yield launch(database_url=shared_url)


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v1/traces", "//v1/traces", "/otel/v1/traces", "/api/public/otel/v1/traces", "/api/v1/otel/v1/traces",
     "/api/v1/private/otel/v1/traces/", "/otlp/v1/traces", "/v1/traces/v1/traces", "/v1", "/v1/", "/otel", "/api/public/otel",
     "/api/public/otel/", "/otlp"],
)  # fmt: skip
def test_an_endpoint_with_another_path_is_taken(shared: Running, path: str) -> None:
    headers = {"content-type": "application/x-protobuf"} | ID
    answer = httpx.post(shared.url + path, content=BODY, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")


def test_logs_and_metrics_find_their_paths_too(shared: Running) -> None:
    for signal in ("logs", "metrics"):
        answer = httpx.post(f"{shared.url}/api/public/otel/v1/{signal}", json={})
        assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/", 404), ("GET", "/otel", 404), ("POST", "/v1/trace", 404)])
def test_elsewhere_there_is_nothing(shared: Running, method: str, path: str, code: int) -> None:
    answer = httpx.request(method, shared.url + path, headers={"accept": "application/json"})
    assert answer.status_code == code


def test_a_browser_sees_a_page_that_leads_to_all_of_it(shared: Running) -> None:
    answer = httpx.get(shared.url, headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={shared.url}/v1/traces" in answer.text
    assert httpx.get(shared.url).status_code == 404


def test_a_refusal_names_who_sent_it(running: Running) -> None:
    agent = {"user-agent": "shop/1.0"}
    for _ in range(2):
        httpx.post(f"{running.url}/v1/spans", content=BODY, headers=agent)
        running.post(otlp.request(otlp.span(), service="checkout").SerializeToString(), **agent)
        running.post(b"\xff", **agent)
    httpx.delete(f"{running.url}/v1/traces", headers=agent)
    for status, service in ((404, None), (400, "checkout"), (400, None), (405, None)):
        found = [
            event
            for event in events(running, "requests refused")
            if (event["status"], event.get("service")) == (status, service)
        ]
        assert len(found) == 1, (status, service)
        assert (found[0]["address"], found[0]["user_agent"]) == ("127.0.0.1", "shop/1.0")
    assert "'/v1/spans'" in running.log.read_text()


def test_a_rejection_and_refused_records_name_who_sent_them(running: Running) -> None:
    request = otlp.request(otlp.span(), service="checkout")
    request.resource_spans[0].scope_spans[0].spans.add(name="no id")
    running.post(request.SerializeToString(), **ID, user_agent="shop/1.0")
    httpx.post(f"{running.url}/v1/logs", json={"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]})
    assert one(running, "spans rejected")["service"] == "checkout"
    assert one(running, "records rejected", signal="logs")["address"] == "127.0.0.1"


def test_a_refusal_over_grpc_names_who_sent_it(running: Running) -> None:
    target, options = running.grpc_url.removeprefix("http://"), [("grpc.primary_user_agent", "shop/2.0")]
    with grpc.insecure_channel(target, options) as channel:
        for path, code in ((EXPORT, grpc.StatusCode.INVALID_ARGUMENT), ("/nosuch/Method", grpc.StatusCode.UNIMPLEMENTED)):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(path, bytes, bytes)(BODY, timeout=20)
            assert error.value.code() == code
    for status in (400, 404):
        (event,) = (event for event in events(running, "requests refused") if event["status"] == status)
        assert event["address"] == "127.0.0.1"
        assert event["user_agent"].startswith("shop/2.0")


def test_the_key_of_a_refused_request_is_named(headrace: Launcher, database_url: str) -> None:
    from headrace.receiver.auth import Keys, new_key

    path = headrace.directory / "keys.json"
    key, secret = new_key("team-a", experiments=("0",))
    Keys(path).add(key)
    running = headrace(database_url=database_url, api_keys=path)
    assert running.post(BODY, authorization=f"Bearer {secret}", x_mlflow_experiment_id="7").status_code in (400, 403)
    assert [event["key"] for event in events(running, "requests refused")] == ["team-a"]


def test_grpc_at_the_port_of_http(running: Running) -> None:
    with grpc.insecure_channel(running.url.removeprefix("http://")) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(EXPORT, bytes, bytes)(BODY, timeout=5)
    port = running.grpc_url.rpartition(":")[2]
    event = one(running, "wrong port")
    assert (event["spoken"], event["port_of"], event["address"]) == ("gRPC", "OTLP/HTTP", "127.0.0.1")
    assert f"send OTLP/gRPC to port {port} (HEADRACE_GRPC_PORT)" in event["mend"]
    assert not events(running, "requests refused")


def test_what_comes_byte_by_byte_is_recognized_too(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PRI * HTTP/2.0\r\n":
            connection.sendall(bytes([byte]))
        assert b"HEADRACE_GRPC_PORT" in connection.recv(4096)
    assert one(running, "wrong port")["spoken"] == "gRPC"


def test_http_and_tls_at_the_port_of_grpc(running: Running) -> None:
    url = running.grpc_url
    answer = httpx.post(f"{url}/v1/traces", content=BODY, headers={"user-agent": "x"})
    assert "HEADRACE_HTTP_PORT" in answer.text
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("http://", "https://"))
    assert one(running, "wrong port", spoken="HTTP")["port_of"] == "OTLP/gRPC"
    assert "without TLS" in one(running, "wrong port", spoken="HTTP over TLS")["mend"]


def first_answer(url: str, first: bytes, more: bytes) -> bytes:
    """All that a server answers to a client that goes on sending when the answer is there already."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(first)
        connection.recv(1, socket.MSG_PEEK)
        for _ in range(3):
            connection.sendall(more)
            time.sleep(0.1)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("port", "first", "said"),
    [
        ("grpc", b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n", b"HEADRACE_HTTP_PORT"),
        ("http", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HEADRACE_GRPC_PORT"),
        ("http", b"POST /v1/traces HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"not a valid HTTP request"),
        ("http", b"POST /v1/traces HTTP/1.1\r\nx: " + b"x" * 1_000_000, b"431"),
        ("http", b"POST /v1/traces HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n", b"not a valid HTTP request"),
    ],
)
def test_a_client_that_still_sends_can_read_its_refusal(shared: Running, port: str, first: bytes, said: bytes) -> None:
    """A socket that is closed with bytes unread resets its connection: the client would read that, not the answer."""
    answer = first_answer(shared.url if port == "http" else shared.grpc_url, first, bytes(100_000))
    assert answer.startswith(b"HTTP/1.1 4")
    assert said in answer


def test_a_client_that_waits_to_be_asked_for_its_body_is_refused_once(running: Running) -> None:
    """What comes at once with the headers is no chunk: nothing more may be written on the connection, and nothing counted."""
    head = b"POST /v1/traces HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = first_answer(running.url, head + b"no chunk\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    time.sleep(0.3)
    refused = [line for line in httpx.get(f"{running.url}/metrics").text.splitlines() if "headrace_requests_refused" in line]
    counted = [line for line in refused if "_total{" in line and not line.endswith(" 0.0")]
    assert counted == ['headrace_requests_refused_total{reason="malformed_body"} 1.0']
    assert not [line for line in running.log.read_text().splitlines() if "Traceback" in line]


def test_a_client_that_never_stops_is_not_read_for_ever(shared: Running) -> None:
    with socket.create_connection(("127.0.0.1", int(shared.grpc_url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall(bytes(200_000_000))


def test_a_client_that_says_no_more_is_not_waited_for(shared: Running) -> None:
    with socket.create_connection(("127.0.0.1", int(shared.grpc_url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(65536), b"")).startswith(b"HTTP/1.1 400")

        def is_closed() -> bool:
            try:
                connection.send(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(is_closed)


def test_tls_at_a_port_without(running: Running) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(running.url.replace("http://", "https://"))
    event = next(event for event in wait_until(lambda: events(running, "wrong port")))
    assert event["spoken"] in ("TLS", "HTTP over TLS")
    assert "without TLS (http://), or set HEADRACE_TLS_CERT" in event["mend"]


def test_plain_text_at_a_port_with_tls(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    running = secured(headrace, database_url, Authority(tmp_path, "authority").issue("server"))
    plain, plain_grpc = (url.replace("https://", "http://") for url in (running.url, running.grpc_url))
    for url in (plain, plain_grpc):
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/v1/traces", content=BODY)
        with grpc.insecure_channel(url.removeprefix("http://")) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(EXPORT, bytes, bytes)(BODY, timeout=5)
    for spoken in ("HTTP", "gRPC"):
        for here in ("OTLP/HTTP over TLS", "OTLP/gRPC over TLS"):
            assert "with TLS (https://)" in one(running, "wrong port", spoken=spoken, port_of=here)["mend"]


def test_a_client_without_a_certificate(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    running = secured(headrace, database_url, authority.issue("server"), Authority(tmp_path, "clients"))
    good = Authority(tmp_path, "strangers").issue("stranger")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.url}/healthz", verify=trusting(authority))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.url}/healthz", verify=trusting(authority, good))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.url}/healthz", verify=ssl.create_default_context())
    wait_until(lambda: len(events(running, "TLS handshakes fail")) == 3)
    said = [event["reason"] for event in events(running, "TLS handshakes fail")]
    assert "the client shows no certificate" in said[0]
    assert "the client's certificate is not accepted" in said[1]
    assert "the client does not accept this server's certificate" in said[2]


def test_grpc_with_tls_at_the_port_of_http(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    running = secured(headrace, database_url, authority.issue("server"))
    credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
    with grpc.secure_channel(running.url.removeprefix("https://"), credentials) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(EXPORT, bytes, bytes)(BODY, timeout=5)
    assert "HEADRACE_GRPC_PORT" in one(running, "wrong port", spoken="gRPC over TLS")["mend"]
