"""TLS and mutual TLS for both servers, from files that may be renewed while the servers run."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.config import Config
from headrace.errors import StartError
from headrace.telemetry.logging import log, log_rarely

_RELOAD_SECONDS = 1.0


class _Session(ssl.SSLObject):
    """The TLS of one connection. asyncio and uvloop say nothing of a handshake that fails: this does."""

    incoming: ssl.MemoryBIO
    ended: "HandshakeEnded | None" = None
    _first = b""

    def do_handshake(self) -> None:
        """As `SSLObject`'s own. It is called again and again, until the handshake ends."""
        if not self._first and self.incoming.pending:  # a look at what comes first, and it is put back
            self._first = self.incoming.read()
            self.incoming.write(self._first)
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._end(error)
            raise
        self._end(None)

    def _end(self, error: ssl.SSLError | None) -> None:
        if self.ended is not None:
            self.ended(self._first, error)
        self.ended = None


HandshakeEnded = Callable[[bytes, ssl.SSLError | None], None]
"""Called with the first bytes of the client, and the error if the handshake failed."""


class _Forwarding(ssl.SSLContext):
    """The context that a server is given once. It passes each new connection on to the `current` context.

    A context in use cannot be renewed itself: it would go on trusting authorities that were removed.
    """

    current: ssl.SSLContext
    on_handshake: Callable[[ssl.SSLObject], None] | None = None
    """Called with each handshake that begins. If it raises, the connection ends."""
    on_handshake_end: HandshakeEnded | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """asyncio and uvloop call this for each connection that they have accepted."""
        session = self.current.wrap_bio(*args, **kwargs)
        if isinstance(session, _Session):
            session.incoming, session.ended = args[0], self.on_handshake_end
        if self.on_handshake is not None:
            self.on_handshake(session)
        return session


class Certificates:
    """The files of `HEADRACE_TLS_*`.

    Raises:
        StartError: a file is missing or unusable, or the files do not belong together.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._version = self._refused = self._modified()
        self.ssl, self.http2 = _Forwarding(ssl.PROTOCOL_TLS_SERVER), _Forwarding(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._read()
        except (OSError, ValueError) as error:  # OpenSSL's errors are OSErrors
            files = ", ".join(str(file) for file in (cert, key, client_ca) if file is not None)
            raise StartError(f"TLS: {files} cannot be used: {error}.") from None

    @classmethod
    def of(cls, config: Config) -> "Certificates | None":
        """The certificates that the settings name. None: no TLS."""
        if config.tls_cert is None or config.tls_key is None:
            return None
        return cls(config.tls_cert, config.tls_key, config.tls_client_ca)

    def reload(self) -> None:
        """Reads the files again if they have changed. New connections use them. If they cannot be used, those read before stay
        in use."""
        try:
            version = self._modified()
        except StartError as error:  # a renewal is in progress, or the files are gone
            log_rarely("TLS files are missing, those before stay", "tls", error=str(error))
            return
        if version == self._version:
            return
        try:
            self._read()
        except (OSError, ValueError) as error:  # tried again at the next call: it may be a lack of descriptors, which passes
            if version != self._refused:
                self._refused = version
                log.warning("TLS files cannot be used, those before stay", error=str(error))
        else:
            log.info("TLS files read again", cert=str(self._cert))
            self._version = version

    async def keep_current(self) -> None:
        """Calls `reload` once a second until it is cancelled."""
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            self.reload()

    def _read(self) -> None:
        """Takes the files as they are now, for both servers. If it raises, nothing has changed."""
        http1, http2 = self._context(), self._context()
        http2.set_alpn_protocols(["h2"])  # gRPC clients require it
        self.ssl.current, self.http2.current = http1, http2

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = _Session
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._cert, self._key, password=self._ask)
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _ask(self) -> str:
        """Called if the key has a password. Raises, because OpenSSL would ask on the terminal, and wait."""
        raise ssl.SSLError(f"{self._key} has a password; a key without one is needed")

    def _modified(self) -> tuple[int, ...]:
        """A value that changes when a file does, also if a link is turned to another file, as when Kubernetes renews
        secrets."""
        files = [file for file in (self._cert, self._key, self._client_ca) if file is not None]
        try:
            return tuple(value for file in files for value in (file.stat().st_mtime_ns, file.stat().st_ino))
        except OSError as error:
            raise StartError(f"TLS: {error.filename} cannot be read: {error.strerror}.") from None
