"""Limits on what surrounds the bodies of HTTP requests: request lines, headers, chunks, trailers. No I/O.

Each method raises `Refused` if a limit is exceeded.
"""

from headrace.errors import HeadersTooLarge, HeadraceError, MalformedBody

MAX_HEAD_BYTES = 64 * 1024
"""Most bytes of a request's headers, over HTTP and over gRPC."""
MAX_HEADERS = 128
"""Most headers of a request, over HTTP and over gRPC."""
_HEADER_BYTES = 160
"""Memory that one header takes besides its own bytes."""
_MAX_GAP_BYTES = 64 * 1024
"""Most bytes between two pieces of a body, or after the last one: sizes of chunks, their extensions, trailers."""
_MAX_FRAMING_BYTES = 1024 * 1024
_FRAMING_PER_CHUNK = 16
_MAX_CHUNKS = 256 * 1024
_LEAST_CHUNK_BYTES = 256
"""Least average size of the chunks beyond `_MAX_CHUNKS`. A chunk of one byte costs as much time as one of 64 KiB."""


class Refused(Exception):
    """Raised in a callback of the parser to stop it. `error` is the answer for the client; None: the connection is closed
    already."""

    def __init__(self, error: HeadraceError | None = None) -> None:
        super().__init__(str(error))
        self.error = error


class Head:
    """Counts what has come of the headers of one request."""

    def __init__(self) -> None:
        self.wire = self.size = self.charged = self._count = 0

    def fed(self, size: int) -> None:
        """Adds bytes that have come. The headers are not complete yet."""
        self.wire += size
        self._check(self.wire)

    def add(self, size: int) -> None:
        """Adds a complete header of `size` bytes."""
        self._count += 1
        self.size += size + _HEADER_BYTES
        if self._count > MAX_HEADERS:
            raise Refused(HeadersTooLarge(f"The request has over {MAX_HEADERS} headers: send fewer."))
        self._check(self.size - self._count * _HEADER_BYTES)

    def add_url(self, size: int) -> None:
        """Adds the URL, of `size` bytes."""
        self.size += size
        self._check(size)

    def _check(self, size: int) -> None:
        if size > MAX_HEAD_BYTES:
            raise Refused(HeadersTooLarge(f"The request's headers are over {MAX_HEAD_BYTES} bytes: send less in them."))


class Body:
    """Counts what has come of the body of one request, and around it."""

    def __init__(self) -> None:
        self.size = self.pieces = self._wire = self._gap = 0

    def add(self, size: int) -> None:
        """Adds a piece of the body, of `size` bytes."""
        self.size += size
        self.pieces += 1
        if self.pieces > _MAX_CHUNKS + self.size // _LEAST_CHUNK_BYTES:
            raise Refused(MalformedBody(f"The body has over {_MAX_CHUNKS} chunks of a few bytes: send larger ones."))

    def fed(self, size: int, pieces_before: int) -> None:
        """Adds `size` bytes as received. They held all pieces since there were `pieces_before`. The body is not complete
        yet."""
        self._wire += size
        self._gap = 0 if self.pieces > pieces_before else self._gap + size
        framing = self._wire - self.size
        if self._gap > _MAX_GAP_BYTES or framing > _MAX_FRAMING_BYTES + _FRAMING_PER_CHUNK * self.pieces:
            raise Refused(MalformedBody(f"Trailers or extensions of chunks are over {_MAX_GAP_BYTES} bytes: send none."))
