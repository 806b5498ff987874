"""One gRPC call: the framing of its messages, its limits, and how it ends.

Sources: gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), compression
(https://github.com/grpc/grpc/blob/master/doc/compression.md).
"""

import asyncio
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import quote

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from headrace.config import Config
from headrace.errors import BodyTimeout, BodyTooLarge, HeadraceError, MalformedBody, UnknownCompression
from headrace.receiver.answers import retry_info, status_of
from headrace.receiver.grpc.stream import Headers, Stream
from headrace.receiver.who import Who

_ENCODINGS = ("identity", "deflate", "gzip", "zstd")
_PREFIX_BYTES = 5
"""Length of the prefix of a message: one byte that says whether it is compressed, four bytes of length."""
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters that stand unescaped in `grpc-message`, besides letters and digits."""
_HEAD: Headers = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", ",".join(_ENCODINGS).encode()),
)
_WELL: Headers = ((b"grpc-status", b"0"),)


def outcome(status: Status, retry_after: int | None = None) -> Headers:
    """A status → the trailers that tell the client how its call ended. `retry_after` is in seconds."""
    trailers = [
        (b"grpc-status", str(status.code).encode()),
        (b"grpc-message", quote(status.message, safe=_PLAIN).encode()),
        (b"grpc-status-details-bin", _binary(status.SerializeToString())),
    ]
    if retry_after is not None:
        # Python's exporter reads it here, and not in the details.
        trailers.append((b"google.rpc.retryinfo-bin", _binary(retry_info(retry_after).SerializeToString())))
    return trailers


def _binary(value: bytes) -> bytes:
    """Base64 without padding: the form of metadata whose name ends with `-bin`."""
    return b64encode(value).rstrip(b"=")


class Refused:
    """A `Call` that is answered at once. Whatever the client still sends is dropped."""

    def __init__(self, stream: Stream, headers: Headers) -> None:
        stream.send(headers, end=True)
        stream.close()

    @classmethod
    def with_status(cls, stream: Stream, status: Status) -> "Refused":
        """Refuses a call with a gRPC status instead of an HTTP status."""
        return cls(stream, (*_HEAD, *outcome(status)))

    def data(self, chunk: bytes) -> None:
        """See `Call`."""

    def end(self) -> None:
        """See `Call`."""

    def gone(self) -> None:
        """See `Call`."""


class OneMessage(ABC):
    """A `Call` whose request is one message. `serve` answers it, with any number of `reply`."""

    serves_on_alone = True
    """Whether `serve` goes on after the client has gone: what it has begun to store shall be stored."""

    def __init__(self, stream: Stream, metadata: Mapping[str, str], config: Config) -> None:
        self.metadata = metadata
        self.who = Who(stream.address, metadata.get("user-agent", ""))
        self._stream = stream
        self._config = config
        self._body = bytearray()
        self._replied = self._over = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(config.body_seconds, self._is_late)

    def begin(self) -> None:  # noqa: B027 - a hook
        """Called once the headers have been accepted."""

    @abstractmethod
    async def serve(self, message: bytes, compression: str) -> None:
        """Answers the message. `compression` names how the message is compressed: a Content-Encoding, or `identity`."""

    def traced(self) -> AbstractContextManager[None]:
        """A context manager around `serve` and the end of the call."""
        return nullcontext()

    def take(self, size: int) -> None:  # noqa: B027 - a hook
        """Called before `size` more bytes are kept. Raises a `HeadraceError` to refuse them."""

    def ended(self, code: int) -> None:  # noqa: B027 - a hook
        """Called once, when the call is over, with its gRPC code. Gives up all that the call holds."""

    def reply(self, message: bytes) -> None:
        """Sends a message."""
        if not self._replied:
            self._replied = True
            self._stream.send(_HEAD)
        self._stream.write(b"\0" + len(message).to_bytes(4, "big") + message)

    def fail(self, error: Exception) -> None:
        """Ends the call, and tells the client of the error."""
        retry_after = error.retry_after if isinstance(error, HeadraceError) else None
        self.finish(status_of(error, self.who), retry_after)

    # The methods of `Call`, for the connection.

    def data(self, chunk: bytes) -> None:
        """See `Call`."""
        if self._over:
            return
        try:
            self.take(len(chunk))
            self._body += chunk
            self._check_length()
        except HeadraceError as error:
            self.fail(error)

    def end(self) -> None:
        """See `Call`."""
        if self._over:
            return
        self._timer.cancel()
        try:
            compression = self._compression()
        except HeadraceError as error:
            self.fail(error)
            return
        message = bytes(memoryview(self._body)[_PREFIX_BYTES:])
        self._body.clear()
        self._task = asyncio.get_running_loop().create_task(self._run(message, compression))

    def gone(self) -> None:
        """See `Call`."""
        if self._task is None:
            self._give_up(code_pb2.CANCELLED)
        elif not self.serves_on_alone:
            self._task.cancel()

    async def _run(self, message: bytes, compression: str) -> None:
        with self.traced():
            try:
                await self.serve(message, compression)
            except asyncio.CancelledError:
                self._give_up(code_pb2.CANCELLED)
            except Exception as error:
                self.fail(error)
            else:
                self.finish(None)

    def _compression(self) -> str:
        """How the message is compressed. Raises a HeadraceError unless the body is one whole message."""
        if len(self._body) < _PREFIX_BYTES or len(self._body) != _PREFIX_BYTES + self._length():
            raise MalformedBody("The call must hold exactly one whole message.")
        if (flag := self._body[0]) == 0:
            return "identity"
        if flag != 1:
            raise MalformedBody(f"A gRPC message begins with 0, or with 1 if it is compressed, and not with {flag}.")
        if (name := self.metadata.get("grpc-encoding", "")) in _ENCODINGS:
            return name
        if not name:
            raise MalformedBody("The message is compressed, and nothing says how: name it in grpc-encoding.")
        raise UnknownCompression(f"grpc-encoding {name[:80]!r} is not supported: send {', '.join(_ENCODINGS)}.")

    def _length(self) -> int:
        return int.from_bytes(self._body[1:_PREFIX_BYTES], "big")

    def _check_length(self) -> None:
        """Refuses a message that is too large as soon as its length is known."""
        most = self._config.max_body_bytes
        if len(self._body) >= _PREFIX_BYTES and max(self._length(), len(self._body) - _PREFIX_BYTES) > most:
            raise BodyTooLarge(f"The message is over {most} bytes: send smaller batches, or raise HEADRACE_MAX_BODY_BYTES.")

    def _is_late(self) -> None:
        seconds = f"{self._config.body_seconds:g} s"
        self.fail(BodyTimeout(f"The message was not complete after {seconds} (HEADRACE_BODY_SECONDS): send smaller batches."))

    def finish(self, status: Status | None, retry_after: int | None = None) -> None:
        """Ends the call with this status; None is success. Does nothing if it has ended already."""
        if self._over:
            return
        trailers = _WELL if status is None else outcome(status, retry_after)
        self._stream.send(trailers if self._replied else (*_HEAD, *trailers), end=True)
        self._give_up(code_pb2.OK if status is None else status.code)

    def _give_up(self, code: int) -> None:
        if not self._over:
            self._over = True
            self._timer.cancel()
            self._body.clear()
            self.ended(code)
            self._stream.close()
