"""Runs programs and keeps what they export in `tests/parity/exports/programs`: `python -m world.frameworks.capture [NAME…]`.

Of each it keeps the first trace in which a model was called, with small ids, without addresses, on a clock of its own.
"""

import json
import re
import sys
import tempfile
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from fake_models import fake_models
from frameworks import MODELS, PROGRAM_EXPORTS, parts
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from world.frameworks.environments import NAMES, command_of
from world.frameworks.running import run

_KEPT = ("service.name", "telemetry.sdk.language", "telemetry.sdk.name")
_IDS = ("traceId", "spanId", "parentSpanId")
_START = 1_700_000_000_000_000_000
_ADDRESSES = re.compile(r"127\.0\.0\.1:\d+|0x[0-9a-f]{6,}")


def _body(sent: BufferedIOBase, length: str | None) -> bytes:
    """What was sent: of a known length, or in chunks, as Node does."""
    if length is not None:
        return sent.read(int(length))
    chunks = []
    while size := int(sent.readline(), 16):
        chunks.append(sent.read(size))
        sent.readline()
    return b"".join(chunks)


@contextmanager
def _receiver(received: ExportTraceServiceRequest) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = _body(self.rfile, self.headers["content-length"])
            if self.path.endswith("/v1/traces"):  # some programs send log records, too
                received.MergeFromString(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def export_of(name: str) -> ExportTraceServiceRequest:
    """What a program exports."""
    received = ExportTraceServiceRequest()
    with fake_models() as models, _receiver(received) as endpoint, tempfile.TemporaryDirectory() as home:
        run(command_of(name), models, endpoint, "", Path(home))
    return received


def tidied(received: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """The first trace in which a model was called."""
    rows = [row for part in parts(received) for row in part.spans.values() if row.type in MODELS]
    chosen = min(rows, key=lambda row: row.start_time_unix_nano).trace_id
    for resource_spans in received.resource_spans:
        for pair in [pair for pair in resource_spans.resource.attributes if pair.key not in _KEPT]:
            resource_spans.resource.attributes.remove(pair)
        for scope_spans in resource_spans.scope_spans:
            for span in [span for span in scope_spans.spans if f"tr-{span.trace_id.hex()}" != chosen]:
                scope_spans.spans.remove(span)
    spans = [span for resource_spans in received.resource_spans for scope in resource_spans.scope_spans for span in scope.spans]
    begin = min(span.start_time_unix_nano for span in spans)
    numbers = {span.span_id: number.to_bytes(8, "big") for number, span in enumerate(spans, 1)}
    for span in spans:
        _rename(span, numbers, _START - begin)
    return received


def _rename(span: Span, numbers: dict[bytes, bytes], later: int) -> None:
    del span.links[:]
    span.trace_id = (1).to_bytes(16, "big")
    span.span_id = numbers[span.span_id]
    span.parent_span_id = numbers.get(span.parent_span_id, b"")
    span.start_time_unix_nano += later
    span.end_time_unix_nano += later
    for event in span.events:
        event.time_unix_nano += later


def as_json(request: ExportTraceServiceRequest) -> str:
    """OTLP/JSON, whose ids are hexadecimal."""

    def hexadecimal(value: Any) -> Any:
        if isinstance(value, list):
            return [hexadecimal(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {key: b64decode(inner).hex() if key in _IDS else hexadecimal(inner) for key, inner in value.items()}

    text = json.dumps(hexadecimal(MessageToDict(request, use_integers_for_enums=True)), ensure_ascii=False, indent=1)
    return _ADDRESSES.sub("0.0.0.0", text) + "\n"


def main() -> None:
    """Captures the programs that are named, or all."""
    for name in sys.argv[1:] or NAMES:
        (PROGRAM_EXPORTS / f"{name}.json").write_text(as_json(tidied(export_of(name))))


if __name__ == "__main__":
    main()
