"""What answers on the ports: the receiver, over HTTP and gRPC, and MLflow."""

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from headrace.config import Config
from headrace.config.listen import reachable
from headrace.console.web.watch import anybody
from headrace.doctor import Finding, ok, skipped, wrong

SECONDS = 5.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of HTTP/2 begins: RFC 9113, section 3.4, with an empty SETTINGS frame."""
_SETTINGS = 4


@dataclass(frozen=True, slots=True)
class Answered:
    """What was found, and whether somebody is there to be asked further."""

    findings: Sequence[Finding]
    answers: bool


def tls_context(config: Config) -> ssl.SSLContext | None:
    """For calls to this machine itself: the certificate may name whatever host it likes."""
    return None if config.tls_cert is None else anybody()


def ask(url: str, context: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    """GET → status and body, at most 64 KiB, past any proxy. Status 0: what answers does not speak HTTP.

    Raises:
        OSError: nobody answers.
    """
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=SECONDS) as answer:
            return answer.status, answer.read(65_536)
    except urllib.error.HTTPError as error:
        return error.code, error.read(65_536)
    except HTTPException:
        return 0, b""


def receiver(config: Config) -> Answered:
    """Whether Headrace answers over HTTP, and whether it takes requests."""
    if config.tls_client_ca is not None:
        said = "It asks for a client's certificate (HEADRACE_TLS_CLIENT_CA), and the doctor has none."
        return Answered([skipped("OTLP/HTTP", said)], False)
    url = config.own_url
    try:
        status, body = ask(f"{url}/readyz", tls_context(config))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Answered([wrong("OTLP/HTTP", "not-running", f"Nothing answers at {url} ({reason}).")], False)
    try:
        said = json.loads(body)
        ready = {"ready": True, "not ready": False}[said["status"]]
    except (ValueError, KeyError, TypeError):
        said = f"{url}/readyz answers {status}, not as Headrace does." if status else f"{url} does not speak HTTP."
        return Answered([wrong("OTLP/HTTP", "other-program", said)], False)
    if not ready:
        return Answered([wrong("OTLP/HTTP", "not-ready", str(said.get("reason", status)))], True)
    if waits := said.get("waits_for"):
        return Answered([wrong("OTLP/HTTP", "waits", str(waits))], True)
    return Answered([ok("OTLP/HTTP", f"{url} takes requests.")], True)


def grpc(config: Config, http_answers: bool) -> Iterator[Finding]:
    """Whether somebody speaks HTTP/2, as gRPC does, on its port."""
    where = f"{reachable(config.host)}:{config.grpc_port}"
    if not http_answers:
        yield skipped("OTLP/gRPC", "Headrace does not answer over HTTP.")
        return
    try:
        first = _first_frame(config)
    except OSError as error:
        yield wrong("OTLP/gRPC", "grpc-silent", f"Nothing answers at {where} ({error}).")
        return
    if len(first) == 9 and first[3] == _SETTINGS:
        yield ok("OTLP/gRPC", f"{where} speaks gRPC.")
    else:
        yield wrong("OTLP/gRPC", "other-program", f"{where} does not speak HTTP/2.")


def _first_frame(config: Config) -> bytes:
    """The head of the first frame that the port sends. Raises OSError."""
    with socket.create_connection((reachable(config.host), config.grpc_port), SECONDS) as plain:
        context = tls_context(config)
        if context is None:
            return _exchange(plain)
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(plain) as encrypted:
            return _exchange(encrypted)


def _exchange(connection: socket.socket) -> bytes:
    connection.sendall(_PREFACE)
    head = b""
    while len(head) < 9 and (more := connection.recv(9 - len(head))):
        head += more
    return head


def mlflow(config: Config) -> Answered:
    """Whether MLflow answers where people read the traces."""
    url = config.mlflow_api
    try:
        status, body = ask(f"{url}/version")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Answered([wrong("MLflow", "mlflow-away", f"Nothing answers at {url} ({reason}).")], False)
    if status != 200:
        return Answered([wrong("MLflow", "mlflow-away", f"{url}/version answers {status}.")], False)
    version = body.decode("utf-8", "replace")[:40].strip()
    return Answered([ok("MLflow", f"{url} answers, version {version}.")], True)
