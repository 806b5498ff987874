"""TLS and mutual TLS for both servers, from files that may be renewed while they serve."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.config import Config
from headrace.errors import StartError
from headrace.telemetry.logging import log, log_rarely

_RELOAD_SECONDS = 1.0


class _Renewable(ssl.SSLContext):
    """The context that a server is given once and for all; each new connection is the `current` one's.

    A context that serves cannot be renewed itself: it would go on to trust the authorities that were taken out.
    """

    current: ssl.SSLContext
    on_handshake: Callable[[ssl.SSLObject], None] | None = None
    """Is told of each handshake that begins; what it raises ends the connection."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """What asyncio and uvloop call for a connection, once it is accepted."""
        session = self.current.wrap_bio(*args, **kwargs)
        if self.on_handshake is not None:
            self.on_handshake(session)
        return session


class Certificates:
    """The files of `HEADRACE_TLS_*`.

    Raises:
        StartError: a file is missing, or they do not belong together.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._version = self._refused = self._modified()
        self.ssl, self.http2 = _Renewable(ssl.PROTOCOL_TLS_SERVER), _Renewable(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._read()
        except (OSError, ValueError) as error:  # OpenSSL's errors are OSErrors
            files = ", ".join(str(file) for file in (cert, key, client_ca) if file is not None)
            raise StartError(f"TLS: {files} cannot be used: {error}.") from None

    @classmethod
    def of(cls, config: Config) -> "Certificates | None":
        """What the settings name; None without TLS."""
        if config.tls_cert is None or config.tls_key is None:
            return None
        return cls(config.tls_cert, config.tls_key, config.tls_client_ca)

    def reload(self) -> None:
        """Reads files that have changed; new connections use them. What cannot be used leaves those before in place."""
        try:
            version = self._modified()
        except StartError as error:  # in the middle of a renewal, or they are gone
            log_rarely("TLS files are missing, those before stay", "tls", error=str(error))
            return
        if version == self._version:
            return
        try:
            self._read()
        except (OSError, ValueError) as error:  # tried again each time: a lack of descriptors passes
            if version != self._refused:
                self._refused = version
                log.warning("TLS files cannot be used, those before stay", error=str(error))
        else:
            log.info("TLS files read again", cert=str(self._cert))
            self._version = version

    async def keep_current(self) -> None:
        """Reads files that have changed, once a second, until it is cancelled."""
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            self.reload()

    def _read(self) -> None:
        """Takes the files as they are now, for both servers alike, or raises, and leaves all as it was."""
        http1, http2 = self._context(), self._context()
        http2.set_alpn_protocols(["h2"])  # gRPC's clients insist on it
        self.ssl.current, self.http2.current = http1, http2

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._cert, self._key, password=self._ask)
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _ask(self) -> str:
        """Instead of OpenSSL, which would ask on the terminal, and wait."""
        raise ssl.SSLError(f"{self._key} has a password; a key without one is needed")

    def _modified(self) -> tuple[int, ...]:
        """Changes when a file does, also where a link is turned to another file (as Kubernetes renews secrets)."""
        files = [file for file in (self._cert, self._key, self._client_ca) if file is not None]
        try:
            return tuple(value for file in files for value in (file.stat().st_mtime_ns, file.stat().st_ino))
        except OSError as error:
            raise StartError(f"TLS: {error.filename} cannot be read: {error.strerror}.") from None
