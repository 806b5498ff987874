"""What a client speaks, by its first bytes, and what the door says to those that are wrong."""

import ssl
from typing import Any

import pytest

from headrace.config import load
from headrace.receiver.door import Door
from headrace.receiver.first_bytes import GRPC, HTTP, Spoken, spoken
from headrace.telemetry import logging
from headrace.telemetry.metrics import CONNECTIONS_CLOSED, TLS_FAILURES

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def hello(*protocols: str) -> bytes:
    """A real ClientHello that offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the system's authorities, which take long to load
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="headrace.example").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (PREFACE, Spoken(GRPC)),
        (b"POST /v1/traces HTTP/1.1\r\n", Spoken(HTTP)),
        *((f"{method} / HTTP/1.1\r\n".encode(), Spoken(HTTP)) for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE")),
        (hello(), Spoken("", tls=True)),
        (hello("h2"), Spoken(GRPC, tls=True)),
        (hello("grpc-exp", "h2"), Spoken(GRPC, tls=True)),
        (hello("http/1.1"), Spoken(HTTP, tls=True)),
        (hello("h2", "http/1.1"), Spoken("", tls=True)),
        (b"\x16\x03", Spoken("", tls=True)),
        (b"", None),
        *((PREFACE[:length], None) for length in (1, 3, 15)),
        (b"P", None),
        (b"POST", None),
        (b"\x16", None),
        (b"hello", Spoken("")),
        (b"\x16\x16", Spoken("")),
        (b"\r\nPOST / HTTP/1.1", Spoken("")),
        (b"PRIMULA / HTTP/1.1", Spoken("")),
    ],
)
def test_the_first_bytes_tell(first: bytes, told: Spoken | None) -> None:
    assert spoken(first) == told


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is logged."""
    said: list[dict[str, Any]] = []

    def note(event: str, kind: str, **fields: Any) -> None:
        said.append({"event": event, "kind": kind, **fields})

    monkeypatch.setattr("headrace.receiver.door.log_rarely", note)
    return said


def door(protocol: str, **settings: Any) -> Door:
    return Door(protocol, load(**settings), str.encode)


@pytest.mark.parametrize(
    ("protocol", "tls", "told", "mend"),
    [
        (HTTP, False, Spoken(GRPC), "send OTLP/gRPC to port 4317 (HEADRACE_GRPC_PORT); or stay"),
        (HTTP, False, Spoken("", tls=True), "send OTLP/HTTP to port 4318 (HEADRACE_HTTP_PORT), without TLS (http://), or set"),
        (HTTP, False, Spoken(GRPC, tls=True), "send OTLP/gRPC to port 4317 (HEADRACE_GRPC_PORT), without TLS (http://), or"),
        (GRPC, False, Spoken(HTTP), "send OTLP/HTTP to port 4318 (HEADRACE_HTTP_PORT); or stay"),
        (GRPC, False, Spoken(HTTP, tls=True), "send OTLP/HTTP to port 4318 (HEADRACE_HTTP_PORT), without TLS (http://), or"),
        (HTTP, True, Spoken(HTTP), "send OTLP/HTTP to port 4318 (HEADRACE_HTTP_PORT), with TLS (https://)"),
        (HTTP, True, Spoken(GRPC), "send OTLP/gRPC to port 4317 (HEADRACE_GRPC_PORT), with TLS (https://); or stay"),
        (GRPC, True, Spoken(HTTP, tls=True), "send OTLP/HTTP to port 4318 (HEADRACE_HTTP_PORT); or stay"),
    ],
)
def test_the_right_port_is_named(protocol: str, tls: bool, told: Spoken, mend: str, events: list[dict[str, Any]]) -> None:
    here = Door(protocol, load(tls_cert="server.pem", tls_key="server.key") if tls else load(), str.encode)
    before = CONNECTIONS_CLOSED.labels("wrong_port")._value.get()
    said = here.turn_away(told, "192.0.2.7", secure=False).decode()
    assert mend in said
    assert CONNECTIONS_CLOSED.labels("wrong_port")._value.get() == before + 1
    (event,) = events
    assert (event["event"], event["address"], event["spoken"]) == ("wrong port", "192.0.2.7", str(told))
    assert mend in event["mend"]


def test_events_of_a_kind_come_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, float] = {}
    monkeypatch.setattr(logging, "_last_logged", said)
    for _ in range(3):
        door(HTTP).turn_away(Spoken(GRPC), "192.0.2.7", secure=False)
    door(HTTP).turn_away(Spoken("", tls=True), "192.0.2.7", secure=False)
    assert list(said) == ["wrong_port_HTTP_gRPC", "wrong_port_HTTP_TLS"]


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
        ("TLSV1_ALERT_UNKNOWN_CA", "client_refused", "(unknown ca)"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "client_refused", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ("UNSUPPORTED_PROTOCOL", "version", "TLS 1.2"),
        ("NO_SHARED_CIPHER", "version", "cipher"),
        ("SOMETHING_NEW", "other", "something new"),
    ],
)
def test_a_failed_handshake_has_a_reason(name: str, reason: str, words: str, events: list[dict[str, Any]]) -> None:
    error = ssl.SSLError(1, f"[SSL: {name}] {name.lower()}")
    error.reason = name
    before = TLS_FAILURES.labels(reason)._value.get()
    door(HTTP, tls_cert="server.pem", tls_key="server.key").handshake_ended(hello("h2", "http/1.1"), error)
    assert TLS_FAILURES.labels(reason)._value.get() == before + 1
    (event,) = events
    assert event["event"] == "TLS handshakes fail"
    assert words in event["reason"]


def test_a_handshake_that_succeeds_at_the_wrong_port_is_told(events: list[dict[str, Any]]) -> None:
    """gRPC's clients close the connection when the server has not chosen h2: nothing else is ever seen of them."""
    secure = door(HTTP, tls_cert="server.pem", tls_key="server.key")
    secure.handshake_ended(hello("http/1.1"), None)
    assert not events
    secure.handshake_ended(hello("h2"), None)
    assert events[0]["mend"].startswith("send OTLP/gRPC to port 4317")
