"""The servers that the cases talk to, each started when the first case asks for it, and what they have stored."""

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
from conftest import Launcher, Running, free_port, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from parity.sent import normal

import otlp
from conformance.wire import GRPC, PACKINGS, Reply, Transport, judge, over_grpc, over_http
from headrace.mlflow.translate.readback import digests, to_traces_data
from headrace.receiver.auth import Keys, new_key

MIB = 1024 * 1024
PLAIN = "plain"
"""Small bodies, everything else as it comes."""
GUARDED = "guarded"
"""API keys (among them one that may send one span a second), and web pages of one origin."""
PRESSED = "pressed"
"""Postgres away, the queue full, 1 MiB of bodies in memory at most, and no patience with slow clients."""
TLS = "tls"
"""A certificate of its own."""
ORIGIN = "https://shop.example"
FORBIDDEN = "\N{GRINNING FACE}" * 200
"""The one experiment that the key `elsewhere` may write to, of a name that is hard to quote."""


@dataclass
class Server:
    """One running `headrace serve`, and clients of it."""

    running: Running
    database_url: str
    ca: bytes | None = None

    @cached_property
    def url(self) -> str:
        """Of OTLP/HTTP."""
        return self.running.url.replace("http:", "https:") if self.ca else self.running.url

    @cached_property
    def client(self) -> httpx.Client:
        """An HTTP client that keeps its connections."""
        if self.ca is None:
            return httpx.Client(timeout=30)
        return httpx.Client(timeout=30, verify=ssl.create_default_context(cadata=self.ca.decode()))

    @cached_property
    def channel(self) -> grpc.Channel:
        """A gRPC channel."""
        address = self.running.grpc_url.removeprefix("http://")
        if self.ca is None:
            return grpc.insecure_channel(address)
        credentials = grpc.ssl_channel_credentials(self.ca)
        return grpc.secure_channel(address.replace("127.0.0.1", "localhost"), credentials)

    @contextmanager
    def connection(self, source: str = "") -> Iterator[socket.socket]:
        """A bare TCP connection to the HTTP port."""
        host, port = self.running.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 30, (source, 0) if source else None) as connection:
            yield connection

    def send(
        self,
        transport: Transport,
        body: bytes,
        packing: str = "",
        headers: Mapping[str, str | None] | None = None,
        *,
        warned: bool = False,
    ) -> Reply:
        """One request to the traces' endpoint, and its answer, judged by what holds for all. `warned`: see `judge`."""
        if transport is GRPC:
            reply = over_grpc(self.channel, body, packing, headers)
        else:
            reply = over_http(self.client, f"{self.url}/v1/traces", transport, PACKINGS[packing](body), headers or {})
        judge(reply, warned=warned)
        return reply

    def counted(self, metric: str) -> float:
        """A metric's value, named with its labels as they stand in /metrics; 0 where it is not there."""
        lines = self.client.get(f"{self.url}/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{metric} ")), 0.0)

    def repaired(self, rule: str) -> float:
        """How often a rule of repair was used."""
        return self.counted(f'headrace_spans_repaired_total{{rule="{rule}"}}')

    @cached_property
    def database(self) -> "psycopg.Connection[dict[str, Any]]":
        """A connection to the database, kept."""
        return psycopg.connect(self.database_url, autocommit=True, row_factory=psycopg.rows.dict_row)

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """The rows of a query, as dicts."""
        return self.database.execute(query, parameters).fetchall()

    def drain(self) -> None:
        """Returns once all that was acknowledged is in Postgres."""
        wait_until(lambda: self.client.get(f"{self.url}/readyz").json()["queue"]["requests"] == 0, 30, "an empty queue")

    def stored(self, trace_id: bytes) -> "list[str]":
        """The spans of a trace, each as OTLP in text form with its resource and scope, sorted."""
        self.drain()
        found = self.rows("SELECT content FROM spans WHERE trace_id = %s", f"tr-{trace_id.hex()}")
        contents = [row["content"] for row in found]
        query = "SELECT digest, origin FROM headrace.origin WHERE digest = ANY (%s)"
        origins = {row["digest"]: row["origin"] for row in self.rows(query, list(digests(contents)))}
        return texts(to_traces_data(contents, origins).resource_spans)

    def assert_stored(self, trace_id: bytes, *spans: Span) -> None:
        """The trace has these spans, and no other."""
        assert self.stored(trace_id) == texts(request_of(*spans).resource_spans)

    def close(self) -> None:
        """Ends the clients' connections."""
        self.client.close()
        self.database.close()
        self.channel.close()


def texts(resources: Any) -> list[str]:
    """Each span of these ResourceSpans with its resource and scope, in protobuf's text form, sorted."""
    found = []
    for resource in resources:
        for scope in resource.scope_spans:
            origin = ResourceSpans(resource=resource.resource, schema_url=resource.schema_url)
            origin.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url)
            found += [f"{origin}{normal(span)}" for span in scope.spans]
    return sorted(found)


class Stand:
    """The servers by name, over one database."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self._directory = directory
        self._launcher = Launcher(directory)
        self._database_url = database_url
        self._servers: dict[str, Server] = {}
        self._keys: dict[str, str] = {}

    def __getitem__(self, name: str) -> Server:
        if name not in self._servers:
            self._servers[name] = self._start(name)
        return self._servers[name]

    def keys_of(self, name: str) -> dict[str, str]:
        """The API keys of the guarded server, by their names."""
        assert self[name]
        return self._keys

    def _start(self, name: str) -> Server:
        settings: dict[str, object] = {
            "data_dir": self._directory / name,
            "database_url": self._database_url,
            "max_body_bytes": MIB,
            "default_experiment": "Default",
        }
        ca = None
        if name == GUARDED:
            settings |= {"api_keys": self._make_keys(), "cors_origins": ORIGIN, "burst_seconds": 1, "path_prefix": "/otel"}
        elif name == TLS:
            cert, key = self._make_certificate()
            ca = cert.read_bytes()
            settings |= {"tls_cert": cert, "tls_key": key}
        elif name == PRESSED:
            nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
            settings |= {"database_url": nowhere, "shutdown_seconds": 0, "queue_max_bytes": MIB, "max_in_flight_bytes": MIB}
            settings |= {"header_seconds": 1, "body_seconds": 1, "max_body_bytes": 64 * MIB}
        running = self._launcher("serve", wait=ca is None, **settings)
        server = Server(running, self._database_url, ca)
        if ca is not None:
            wait_until(lambda: _answers(server), 60, "a server with TLS")
        if name == PRESSED:
            filling = otlp.request(otlp.span("x" * 400_000)).SerializeToString()
            for _ in range(2):
                over_http(server.client, f"{server.url}/v1/traces", Transport.PROTOBUF, filling, {})
        return server

    def _make_keys(self) -> Path:
        path = self._directory / "keys.json"
        for key, secret in (
            new_key("all"),
            new_key("spans", spans_per_second=1),
            new_key("bytes", bytes_per_second=1),
            new_key("elsewhere", (FORBIDDEN,)),
        ):
            Keys(path).add(key)
            self._keys[key.name] = secret
        return path

    def _make_certificate(self) -> tuple[Path, Path]:
        """Self-signed, for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(timezone.utc)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )
        cert_file, key_file = self._directory / "cert.pem", self._directory / "key.pem"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert_file, key_file

    def close(self) -> None:
        """Ends all of them, at the same time."""
        for server in self._servers.values():
            server.close()
            server.running.process.terminate()
        self._launcher.stop_all()


def _answers(server: Server) -> bool:
    try:
        return server.client.get(f"{server.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def request_of(*spans: Span, **resource: Any) -> ExportTraceServiceRequest:
    """A request of one resource, of the service `conformance`."""
    return otlp.request(*spans, service="conformance", **resource)
