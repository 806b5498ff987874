"""A small real OTLP/HTTP endpoint for metrics, which answers as a test says, and keeps what it took."""

import gzip
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Reply(NamedTuple):
    """An answer: its status, its body, and its Retry-After."""

    status: int = 200
    body: bytes = b""
    retry_after: str = ""


class OtlpEndpoint(ThreadingHTTPServer):
    """It answers 200 unless there are `replies`, which it gives first. While `hangs` is set it does not answer at all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/metrics"
        self.replies: deque[Reply] = deque()
        self.taken: list[ExportMetricsServiceRequest] = []
        """The requests that were answered 200."""
        self.headers: list[dict[str, str]] = []
        """Of all requests, in lower case."""
        self.hangs = threading.Event()
        self.refuses = ""
        """A request that has a metric of this name is answered 400."""

    @property
    def names(self) -> list[str]:
        """The names of all metrics that it took, in their order."""
        return [
            metric.name
            for request in self.taken
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OtlpEndpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.hangs.is_set():
            self.rfile.read(1)  # until the client hangs up
            return
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        if self.server.refuses and self.server.refuses in str(request):
            reply = Reply(400, b"no such metric")
        else:
            reply = self.server.replies.popleft() if self.server.replies else Reply()
        if reply.status == 200:
            self.server.taken.append(request)
        self.send_response(reply.status)
        if reply.retry_after:
            self.send_header("retry-after", reply.retry_after)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def otlp_endpoint() -> Iterator[OtlpEndpoint]:
    """It listens inside the block."""
    with OtlpEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
