"""What OTLP/HTTP and OTLP/gRPC do alike with a request: check the API key and the limits, decode the body, and pass it to the
pipeline."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from google.protobuf.message import Message

from headrace import tracing
from headrace.config import Config
from headrace.envelope.incoming import AnyRequest, Request, Sender
from headrace.envelope.limit import Limit
from headrace.errors import BodyTooLarge, HeadraceError
from headrace.otlp.codec import Encoding
from headrace.otlp.compression import inflate
from headrace.otlp.signals import TRACES, Decoded, Signal
from headrace.pipeline import Pipeline
from headrace.processor.verdict import Verdict
from headrace.receiver.auth import Key, Keys
from headrace.receiver.limits import Limits
from headrace.receiver.memory import Memory, Share
from headrace.receiver.origins import Origins
from headrace.receiver.refusals import BOOK
from headrace.receiver.who import Who, services_of
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import REQUEST_BYTES

_IN_THREAD_BYTES = 64 * 1024
"""Bodies of this many bytes or more are parsed outside the event loop: that is about 0.5 ms of work, Quickwit's limit for async
code. Compressed bodies always are, because their inflated size is not known before."""
_THREADS = 4
"""The number of threads that parse. Python's lock lets only one thread parse at a time; the others can inflate bodies
meanwhile."""


_T = TypeVar("_T")


class Body(NamedTuple):
    """A complete body, as it was sent."""

    data: bytes
    encoding: Encoding
    compression: str = ""
    """What the header `Content-Encoding` or `grpc-encoding` says. Empty: none."""


class Intake:
    """Shared by the receivers of one process. All methods run on the event loop."""

    def __init__(self, config: Config, pipeline: Pipeline, keys: Keys | None) -> None:
        self._max_body = config.max_body_bytes
        self.memory = Memory(config.max_in_flight_bytes)
        self._threads = ThreadPoolExecutor(_THREADS, "headrace-parse")
        self._pipeline = pipeline
        self._keys = keys
        self._origins = Origins(config)
        self._limits = Limits(config)

    def admit(self, headers: Mapping[str, str], address: str) -> Key | None:
        """The API key of a request. None if Headrace asks for no keys. It is checked before the body is read.

        Raises:
            PermissionDenied: a web page sent it that is not allowed to. Unauthenticated, RateLimited.
        """
        self._origins.check(headers)
        return None if self._keys is None else self._keys.authenticate(headers, address)

    @contextmanager
    def reading(self, who: Who | None = None) -> Iterator["Reading"]:
        """Counts the memory that a request takes until it is answered. `who` sent it."""
        reading = Reading(self, who or Who())
        try:
            yield reading
        finally:
            reading.leave()

    async def export(
        self, signal: Signal, body: Body, headers: Mapping[str, str], key: Key | None, reading: "Reading"
    ) -> Message:
        """A complete body → the answer to its sender. The records are durable when this returns.

        `reading` has counted the body, and counts the memory for inflating and parsing.

        Raises:
            RequestError, RateLimited, QueueError.
        """
        size = len(body.data)
        REQUEST_BYTES.observe(size)
        self._limits.charge("bytes", size, *((key.id, key.bytes_per_second) if key else ()))
        decoded = await self._decode(signal, body, reading)
        request: AnyRequest = Request(
            decoded.message, _sender(headers, key), decoded.original, decoded.unparsed, decoded.notes, signal
        )
        tracing.received(size, request.resources, decoded.records)
        try:
            self._limits.charge("spans", decoded.records, *((key.id, key.spans_per_second) if key else ()))
            verdict = await self._pipeline.consume(request)
        except HeadraceError:
            reading.who.service = _services(request)
            raise
        if verdict.rejected:
            reading.who.service = _services(request)
            _log_rejected(verdict, reading.who)
        return signal.answer(verdict.rejected.total(), verdict.explain())

    async def _decode(self, signal: Signal, body: Body, reading: "Reading") -> Decoded:
        def parse() -> Decoded:
            return signal.decode(
                inflate(body.data, body.compression, self._max_body, reading.charge), body.encoding, reading.charge
            )

        if len(body.data) < _IN_THREAD_BYTES and body.compression.strip().lower() in ("", "identity"):
            return parse()
        return await reading.in_thread(self._threads.submit(parse))

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge for a body of so many bytes."""
        if size > self._max_body:
            raise BodyTooLarge(
                f"The body is over {self._max_body} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES."
            )


class Reading(Share):
    """The memory of one request, from the first byte of its body until its answer."""

    def __init__(self, intake: Intake, who: Who) -> None:
        super().__init__(intake.memory)
        self.who = who
        """Who sent it. If the request is refused, its services are added."""
        self._intake = intake
        self._body = 0
        self._users = 1
        self._users_lock = threading.Lock()

    def add(self, size: int) -> None:
        """Counts `size` more bytes of the body, which have been received.

        Raises:
            BodyTooLarge, InFlightFull.
        """
        self._body += size
        self._intake.check_size(self._body)
        self.charge(size, as_sent=True)

    async def in_thread(self, work: "Future[_T]") -> _T:
        """Waits for a thread that works on the request. If the wait is cancelled, the thread continues, and its memory stays
        counted until it ends."""
        with self._users_lock:
            self._users += 1
        work.add_done_callback(lambda _: self.leave())
        try:
            return await asyncio.wrap_future(work)
        finally:
            # A future holds its error, whose traceback holds this frame: a cycle, and Python's collector comes seldom. The body
            # would be kept.
            del work

    def leave(self) -> None:
        """Called when the request is answered, and when a thread has done its work. The last of these calls gives the memory
        back."""
        with self._users_lock:
            self._users -= 1
            done = self._users == 0
        if done:
            self.give_back()


def _log_rejected(verdict: Verdict, who: Who) -> None:
    for reason in verdict.rejected:
        BOOK.note(reason, verdict.explain(), who)
    if verdict.signal is TRACES:
        log_rarely("spans rejected", min(verdict.rejected), reason=verdict.explain(), **who.fields())
    else:
        key = f"{verdict.signal.name} {min(verdict.rejected)}"
        log_rarely("records rejected", key, signal=verdict.signal.name, reason=verdict.explain(), **who.fields())


def _services(request: AnyRequest) -> str:
    return services_of(each.resource for each in request.resources)


def _sender(headers: Mapping[str, str], key: Key | None) -> Sender:
    return Sender(headers) if key is None else Sender(headers, key.name, Limit.of(key.experiments))
