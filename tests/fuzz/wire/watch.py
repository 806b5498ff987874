"""Whether a running Headrace is well: it answers over each transport, and its log says nothing that nobody expects."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import psutil
from conftest import Running
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

import otlp

PATIENCE_SECONDS = 15.0
"""How long a normal request may take amid the attack."""
_ROUTE = {"x-mlflow-experiment-id": "0"}
_VARIES = re.compile(
    r"""b'[^']*'|b"[^"]*"|invalid \w+ byte|unexpected end of data|0x[0-9a-f]+|\d+|(?<=[\[{(])[^\[\](){}]{60,}(?=[\])}])"""
)


@dataclass(frozen=True)
class Complaint:
    """`shape`: the same for each time that this goes wrong; `text`: all that is known of this time."""

    shape: str
    text: str
    deadly: bool = False
    """Headrace has to be started again before anything else can be tried."""


def shape_of(text: str) -> str:
    """Without numbers, addresses and long contents, and short."""
    return " ".join(_VARIES.sub("…", text).split())[:160]


class Watch:
    """Over one process of `headrace serve`."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.address = {name: self._port(url) for name, url in (("http", running.url), ("grpc", running.grpc_url))}
        self._read_to = 0

    @staticmethod
    def _port(url: str) -> tuple[str, int]:
        return "127.0.0.1", int(url.rpartition(":")[2])

    def complaints(self) -> list[Complaint]:
        """What is wrong now, or stands in the log since the last call."""
        return [*self._deaths(), *self._lines()]

    def _deaths(self) -> Iterator[Complaint]:
        if (status := self.running.process.poll()) is not None:
            yield Complaint("the process ended", f"the process ended with {status}", deadly=True)
            return
        for name, export in (("HTTP", self._over_http), ("gRPC", self._over_grpc)):
            began = time.monotonic()
            try:
                export()
            except (httpx.HTTPError, grpc.RpcError, AssertionError) as error:
                said = f"{type(error).__name__}: {error}"
                yield Complaint(
                    f"no export over {name}", f"no export over {name} for {time.monotonic() - began:.1f} s: {said}", True
                )

    def _over_http(self) -> None:
        """A normal export, and health."""
        with httpx.Client(base_url=self.running.url, timeout=PATIENCE_SECONDS) as client:
            body = otlp.request(otlp.span("normal")).SerializeToString()
            answer = client.post("/v1/traces", content=body, headers={"content-type": "application/x-protobuf", **_ROUTE})
            assert answer.status_code == 200, answer
            for path in ("/healthz", "/readyz"):
                assert (found := client.get(path)).status_code == 200, found.text

    def _over_grpc(self) -> None:
        with grpc.insecure_channel("{}:{}".format(*self.address["grpc"])) as channel:
            export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
            body = otlp.request(otlp.span("normal"))
            export(body, metadata=list(_ROUTE.items()), timeout=PATIENCE_SECONDS)
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            assert answer.status == HealthCheckResponse.SERVING, answer

    def _lines(self) -> Iterator[Complaint]:
        """Lines of the log that are errors, or that Headrace has not written: tracebacks, what grpc's core says."""
        with self.running.log.open("rb") as log:
            log.seek(self._read_to)
            lines = log.read().decode(errors="replace").splitlines()
            self._read_to = log.tell()
        foreign: list[str] = []
        for line in [*lines, "{}"]:
            said: dict[str, Any] = {}
            with suppress(json.JSONDecodeError):
                said = json.loads(line) if line.startswith("{") else {}
            if not line.startswith("{"):
                foreign.append(line)
                continue
            if foreign:
                yield Complaint(shape_of(f"log: {foreign[-1]}"), "\n".join(foreign)[-4000:])
                foreign = []
            if said.get("level") in ("error", "critical") or "exception" in said:
                reason = str(said.get("exception", said.get("error", ""))).strip().rpartition("\n")[2]
                yield Complaint(shape_of(f"log: {said['event']}: {reason}"), line[:4000])


@dataclass(frozen=True)
class Usage:
    """Of the process: resident memory in bytes, and open descriptors."""

    rss: int
    descriptors: int

    @staticmethod
    def of(running: Running) -> "Usage":
        """Now."""
        process = psutil.Process(running.process.pid)
        return Usage(process.memory_info().rss, process.num_fds())

    def __str__(self) -> str:
        return f"{self.rss / 2**20:,.0f} MiB, {self.descriptors} descriptors"
