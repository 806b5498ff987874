"""The faults that somebody sends. While clients send, a hostile one sends what is meant to stop Headrace for them.

What it sends is bounded, a few seconds' worth, and is no part of the load: it is not looked for afterwards. It may be refused
or cut off. An answer of 500 fails the fault, as nobody foresaw it.
"""

import resource
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
from fuzz.wire import http2
from fuzz.wire.answers import Answers
from fuzz.wire.case import Case, Step
from fuzz.wire.hunt import make_case
from fuzz.wire.odd import PATHS, gzipped
from fuzz.wire.peer import play
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from faults.catalogue import Fault
from faults.stage import Stage

_MIB = 2**20
_ROUTE = {"x_mlflow_experiment_id": "0"}


def _export(stage: Stage, request: ExportTraceServiceRequest, **headers: str) -> None:
    """Sends it over HTTP, in gzip."""
    _post(stage, gzipped(request.SerializeToString()), **headers)


def _post(stage: Stage, body: bytes, **headers: str) -> None:
    with suppress(httpx.HTTPError):
        answer = stage.running.post(body, content_encoding="gzip", **headers)
        assert answer.status_code != 500, answer.content


def _play(stage: Stage, case: Case) -> Answers:
    """Sends it to its port; nobody need take it."""
    url = stage.running.url if case.port == "http" else stage.running.grpc_url
    answers = Answers()
    with suppress(OSError):
        answers = play(case, ("127.0.0.1", int(url.rpartition(":")[2])))
    unforeseen = [answer for answer in answers.found if answer.status in ("500", "grpc 2")]
    assert not unforeseen, (case.name, unforeseen)
    return answers


def _at_once(stage: Stage, cases: list[Case]) -> None:
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda case: _play(stage, case), cases))


def _odd_paths(stage: Stage) -> None:
    """Each odd path several times, so that each worker gets it; the first of them ended grpcio's server for good."""
    paths = [b"/\xbe", *PATHS] * 4
    calls = [http2.opening() + http2.call(1, http2.request_headers(path), http2.message(b"")) for path in paths]
    _at_once(stage, [Case(repr(path), "grpc", (Step(sent),)) for path, sent in zip(paths, calls, strict=True)])


def _odd_connections(stage: Stage) -> None:
    """A hundred of the wire's fuzz test."""
    seed = f"{stage.rng.random()}"
    _at_once(stage, [make_case(seed, number) for number in range(100)])


def _shared_value(stage: Stage) -> None:
    """A name of 1 MB that 1,150 empty spans of a known trace share: 21 KB, which became 1.1 GB when it was written."""
    trace = stage.rng.randbytes(16)
    _export(stage, otlp.request(otlp.span("root", trace, stage.rng.randbytes(8))), **_ROUTE)
    stage.writes()
    spans = [Span(trace_id=trace, span_id=stage.rng.randbytes(8)) for _ in range(1150)]
    _export(stage, otlp.request(*spans, service="n" * _MIB), **_ROUTE)


def _tag_rows(stage: Stage) -> None:
    """1,500 attributes of a resource that 300 traces share: 15 KB, which became 450,000 rows."""
    spans = [otlp.span("root", stage.rng.randbytes(16), stage.rng.randbytes(8)) for _ in range(300)]
    _export(stage, otlp.request(*spans, **{f"tag{number}": "v" for number in range(1500)}), **_ROUTE)


def _experiments(stage: Stage) -> None:
    """One request that names a thousand new experiments."""
    names = (f"hostile-{stage.rng.random()}-{number}" for number in range(1000))
    request = ExportTraceServiceRequest(
        resource_spans=[otlp.resource_spans(otlp.span(), mlflow_experiment_name=name) for name in names]
    )
    _export(stage, request)


def _roots(stage: Stage) -> None:
    """A trace of 4,000 roots, and then some more, each in a request of its own."""
    trace = stage.rng.randbytes(16)
    for count in (*[1000] * 4, 1, 1, 1):
        _export(stage, otlp.request(*[otlp.span("root", trace, stage.rng.randbytes(8)) for _ in range(count)]), **_ROUTE)
    stage.writes()


def _inflated(stage: Stage) -> None:
    """Ten bodies at once over each transport, 60 KB that inflate to 60 MB: a field that OTLP does not have."""
    field = b"\xfa\x3e" + _varint(60 * 10**6)
    packed = gzipped(field + bytes(60 * 10**6))
    headers = [*http2.request_headers(), (b"grpc-encoding", b"gzip")]
    sent = http2.opening() + http2.call(1, headers, http2.message(packed, 1))
    with ThreadPoolExecutor(20) as pool:
        over_grpc = [pool.submit(_play, stage, Case("bomb", "grpc", (Step(sent),))) for _ in range(10)]
        over_http = [pool.submit(_post, stage, packed, **_ROUTE) for _ in range(10)]
    for answered in over_grpc:
        answered.result()
    for posted in over_http:
        posted.result()


def _varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _trailers(stage: Stage) -> None:
    """Four chunked bodies whose trailers go on for 32 MiB each."""
    head = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n"
    head += b"transfer-encoding: chunked\r\n\r\n0\r\n"
    steps = (Step(head), Step(b"x-trailer: %s\r\n" % (b"y" * 500), 32 * _MIB // 512), Step(b"\r\n"))
    _at_once(stage, [Case("trailers", "http", steps)] * 4)


def _idle_connections(stage: Stage) -> None:
    """A thousand connections to each port that never say a word."""
    with _descriptors(4096), ExitStack() as held:
        for url in (stage.running.url, stage.running.grpc_url):
            for _ in range(1000):
                with suppress(OSError):
                    held.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1))
        stage.wait()


@contextmanager
def _descriptors(wanted: int) -> Iterator[None]:
    """So many, for this process, inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _resets(stage: Stage) -> None:
    """Streams that are opened and reset at once, PINGs and SETTINGS in bulk, and header blocks that never end."""
    headers = http2.block(http2.request_headers())
    reset = b"".join(
        http2.frame(http2.Kind.HEADERS, http2.END_HEADERS, stream, headers)
        + http2.frame(http2.Kind.RST_STREAM, 0, stream, b"\0\0\0\x08")
        for stream in range(1, 4001, 2)
    )
    unended = http2.frame(http2.Kind.HEADERS, 0, 1, headers)
    floods = [
        (Step(reset),),
        (Step(http2.frame(http2.Kind.PING, 0, 0, bytes(8)), 50_000),),
        (Step(http2.frame(http2.Kind.SETTINGS, 0, 0, http2.setting(4, 65535)), 50_000),),
        (Step(unended), Step(http2.frame(http2.Kind.CONTINUATION, 0, 1, http2.literal(b"k" * 90, b"v" * 900)), 20_000)),
    ]
    _at_once(
        stage, [Case("flood", "grpc", (Step(http2.opening()), *flood), end) for flood in floods for end in ("read", "deaf")]
    )


def _hostile(name: str, once: Callable[[Stage], None], crowds: bool = False) -> Fault:
    return Fault(f"somebody sends {name}", once, bites=False, hostile=True, crowds=crowds)


HOSTILE = [
    _hostile("paths that are not UTF-8", _odd_paths),
    _hostile("odd HTTP/2 and HTTP/1.1", _odd_connections),
    _hostile("a shared name of 1 MB", _shared_value),
    _hostile("450,000 tags", _tag_rows),
    _hostile("1,000 new experiments", _experiments, crowds=True),
    _hostile("a trace of 4,000 roots", _roots),
    _hostile("bodies that inflate to 60 MB", _inflated, crowds=True),
    _hostile("endless trailers", _trailers, crowds=True),
    _hostile("nothing, on 2,000 connections", _idle_connections),
    _hostile("resets, PINGs and SETTINGS in bulk", _resets),
]
"""Of a hostile client."""
