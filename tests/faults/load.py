"""Clients that send as SDKs do, over HTTP and gRPC, and know afterwards what they were promised.

Everything about a request follows from the load's seed, the client and the request's number: its spans can be made again to be
compared with what is stored, and nothing need be kept of it but whether it was acknowledged. Two requests make a trace: first
some children, then the root with the others, so that two workers may well meet on it.
"""

import hashlib
import itertools
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import grpc
import httpx
import psycopg
from conftest import Running, rows
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from faults.endless import Endless

SPANS = 8
"""In a trace."""
TIMEOUT_SECONDS = 4.0
"""A stricter client than the SDKs, which wait for ten seconds by default."""
_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_PER_CONNECTION = 40  # then another worker may get the next
_BATCH = 200


def stored(url: str) -> set[str]:
    """The ids of all spans in MLflow's table."""
    return {row["span_id"] for row in rows(url, "SELECT span_id FROM spans")}


def send(running: Running, span: Span | None = None) -> str:
    """Sends one span in its own request, on a connection of its own; returns its id once it was acknowledged."""
    span = otlp.span() if span is None else span
    running.post(otlp.request(span).SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
    return span.span_id.hex()


def send_grpc(running: Running) -> str:
    """The same over gRPC."""
    span = otlp.span()
    with _channel(running.grpc_url) as channel:
        export = channel.unary_unary(_PATH, None, None)
        export(otlp.request(span).SerializeToString(), metadata=(("x-mlflow-experiment-id", "0"),), timeout=30)
    return span.span_id.hex()


def _channel(url: str) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)]
    return grpc.insecure_channel(url.rpartition("/")[2], [*options, ("grpc.max_reconnect_backoff_ms", 500)])


def spans_of(seed: str, client: int, number: int) -> list[Span]:
    """The spans of one request: of every two, the first has children, the second the root and more of them."""
    trace = f"{seed}/{client}/{number // 2}"
    ids = [_digest(f"{trace}/{index}", 8) for index in range(SPANS)]
    chosen = range(SPANS // 2, SPANS) if number % 2 == 0 else range(SPANS // 2)
    return [_span(trace, ids, index) for index in chosen]


def _span(trace: str, ids: list[bytes], index: int) -> Span:
    rng = random.Random(f"{trace}/{index}")
    start = otlp.START + rng.randrange(10**12)
    name, end = f"{('GET', 'SELECT', 'chat')[index % 3]} {rng.randrange(1000)}", start + rng.randrange(10**9)
    payload = rng.randbytes(rng.randrange(1, 200)).hex()
    parent = ids[0] if index else b""
    attributes = {"fault.payload": payload, "fault.checksum": checksum(ids[index].hex(), name, start, end, payload)}
    return otlp.span(name, _digest(trace, 16), ids[index], parent, start, end, attributes)


def checksum(*values: object) -> str:
    """Of what a span says."""
    return _digest(json.dumps(values), 8).hex()


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


@dataclass
class Ledger:
    """What one load was promised: for each client, one byte a request, 1 once it was acknowledged."""

    seed: str
    clients: list[bytearray]
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    """Seconds that the slowest acknowledgement took."""

    @property
    def requests(self) -> int:
        """Acknowledged so far."""
        return sum(sum(client) for client in self.clients)

    def sent(self) -> Iterator[tuple[bool, list[Span]]]:
        """Every request: whether it was acknowledged, and its spans."""
        for client, states in enumerate(self.clients):
            for number, acknowledged in enumerate(states):
                yield bool(acknowledged), spans_of(self.seed, client, number)


@dataclass
class Tally:
    """Spans: what came of what was acknowledged. `lost` is not in MLflow, be it as a dead letter, or with other content."""

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    refused: int = 0
    """Requests that were not acknowledged when they were sent: 503, 429, a connection that was refused or cut."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def verify(url: str, ledger: Ledger) -> Tally:
    """Compares a ledger with the tables: each span once, as it was sent, in a trace that is there once."""
    tally = Tally(refused=ledger.refusals.total())
    with psycopg.connect(url) as connection:
        requests = ledger.sent()
        while batch := list(itertools.islice(requests, _BATCH)):
            tally += _verify_batch(connection, batch)
    return tally


def _verify_batch(connection: "psycopg.Connection[tuple[object, ...]]", batch: list[tuple[bool, list[Span]]]) -> Tally:
    traces = sorted({otlp.trace_id_of(spans[0]) for _, spans in batch})
    query = "SELECT span_id, name, start_time_unix_nano, end_time_unix_nano, content FROM spans WHERE trace_id = ANY(%s)"
    found: dict[object, list[str]] = {}
    for span_id, name, start, end, content in connection.execute(query, [traces]):
        payload = json.loads(json.loads(str(content))["attributes"]["fault.payload"])
        found.setdefault(span_id, []).append(checksum(span_id, name, start, end, payload))
    query = "SELECT request_id FROM trace_info WHERE request_id = ANY(%s)"
    infos = Counter(row[0] for row in connection.execute(query, [traces]))
    tally = Tally(doubled=sum(count - 1 for count in infos.values()))
    for acknowledged, spans in batch:
        for span in spans:
            sums = found.get(span.span_id.hex(), [])
            good = span.attributes[1].value.string_value in sums and otlp.trace_id_of(span) in infos
            tally += Tally(acknowledged, good, acknowledged and not good, max(0, len(sums) - 1))
    return tally


class Load(Endless):
    """Inside the block, clients send without end, each a request at a time; what was refused is sent again until it is taken.

    The last of them speaks gRPC. `pause`: seconds between two requests of a client. `hang_ups`: before every so-manieth
    request the client sends it and hangs up without reading the answer, then sends it again; 0: never.
    """

    def __init__(self, running: Running, seed: str, clients: int = 5, pause: float = 0.01, hang_ups: int = 0) -> None:
        self.ledger = Ledger(seed, [bytearray() for _ in range(clients)])
        self._running = running
        self._pause = pause
        self._hang_ups = hang_ups
        super().__init__({f"client {client}": partial(self._run, client) for client in range(clients)})

    def _run(self, client: int) -> None:
        states = self.ledger.clients[client]
        last = client == len(self.ledger.clients) - 1
        exporter = _GrpcExporter(self._running.grpc_url) if last else _HttpExporter(self._running.url)
        while not self.stop.is_set():
            states.append(0)
            number = len(states) - 1
            body = otlp.request(*spans_of(self.ledger.seed, client, number)).SerializeToString()
            headers = _experiment(client, number)
            if self._hang_ups and number % self._hang_ups == 0:
                hang_up(self._running.url, body, headers)
            states[number] = self._insist(exporter, body, headers)
            self.stop.wait(self._pause)
        exporter.close()

    def _insist(self, exporter: "_HttpExporter | _GrpcExporter", body: bytes, headers: dict[str, str]) -> bool:
        """Sends until it is acknowledged. False: the load was stopped before."""
        while True:
            began = time.monotonic()
            refusal = exporter.export(body, headers)
            self.ledger.slowest = max(self.ledger.slowest, time.monotonic() - began)
            if not refusal:
                return True
            self.ledger.refusals[refusal] += 1
            if self.stop.wait(0.1):
                return False


def _experiment(client: int, number: int) -> dict[str, str]:
    """By id, by a name that is there, by names that are new; the same for both requests of a trace."""
    ways = (("id", "0"), ("name", "Default"), ("name", f"faults-{number // 50}"))
    kind, value = ways[client % 3]
    return {f"x-mlflow-experiment-{kind}": value}


class _HttpExporter:
    """One client's connection, made anew now and then and after each error."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/traces"
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, verify=False)
        self._uses = 0

    def export(self, body: bytes, headers: dict[str, str]) -> str:
        """Sends; returns what was wrong, "" for an acknowledgement of all of it."""
        self._uses += 1
        if self._uses % _PER_CONNECTION == 0:
            self._renew()
        try:
            answer = self._client.post(self._url, content=body, headers={"content-type": "application/x-protobuf"} | headers)
        except httpx.TransportError as error:
            self._renew()
            return type(error).__name__
        return "" if answer.status_code == 200 and not answer.content else f"{answer.status_code} {answer.content!r}"

    def _renew(self) -> None:
        self._client.close()
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, verify=False)

    def close(self) -> None:
        """Closes it."""
        self._client.close()


class _GrpcExporter:
    """The same over gRPC, whose channel connects again by itself."""

    def __init__(self, url: str) -> None:
        self._channel = _channel(url)
        self._export = self._channel.unary_unary(_PATH, None, None)

    def export(self, body: bytes, headers: dict[str, str]) -> str:
        """As the other's."""
        try:
            answer = self._export(body, metadata=tuple(headers.items()), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return str(error.code())
        return "" if not answer else repr(answer)

    def close(self) -> None:
        """Closes it."""
        self._channel.close()


def hang_up(url: str, body: bytes, headers: dict[str, str]) -> None:
    """Sends a whole request and closes the connection without a look at the answer."""
    host, _, port = url.rpartition("/")[2].partition(":")
    lines = [f"{key}: {value}" for key, value in ({"host": host, "content-length": str(len(body))} | headers).items()]
    head = "\r\n".join(["POST /v1/traces HTTP/1.1", "content-type: application/x-protobuf", *lines, "", ""])
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(head.encode() + body)
