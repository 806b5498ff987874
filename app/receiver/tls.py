"""TLS and mutual TLS for both servers, from files that may be renewed while they serve."""

import ssl
from pathlib import Path

import grpc

from app.config import Config
from app.errors import StartError
from app.telemetry import log


class Certificates:
    """The files of `HEADRACE_TLS_*`.

    Raises:
        StartError: a file is missing, or they do not belong together.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._version = self._modified()
        self.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self.ssl.load_cert_chain(cert, key)
            if client_ca is not None:
                self.ssl.load_verify_locations(client_ca)
                self.ssl.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise StartError(f"TLS: {cert}, {key} or {client_ca} cannot be used: {error}.") from None
        self._grpc = self._grpc_configuration()

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
        except StartError:
            return  # in the middle of a renewal
        if version == self._version:
            return
        try:
            # Tried on a context of its own first: a pair that does not match would spoil the one that serves.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key)
            self.ssl.load_cert_chain(self._cert, self._key)
            if self._client_ca is not None:
                self.ssl.load_verify_locations(self._client_ca)
            self._grpc = self._grpc_configuration()
        except (OSError, ssl.SSLError) as error:
            log.warning("TLS files cannot be used, those before stay", error=str(error))
        else:
            log.info("TLS files read again", cert=str(self._cert))
        self._version = version

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC's server, which asks at each connection whether there is something new."""
        return grpc.dynamic_ssl_server_credentials(
            self._grpc, lambda: self._grpc, require_client_authentication=self._client_ca is not None
        )

    def _grpc_configuration(self) -> grpc.ServerCertificateConfiguration:
        pair = (self._key.read_bytes(), self._cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], self._client_ca.read_bytes() if self._client_ca else None)

    def _modified(self) -> tuple[int, ...]:
        """Changes when a file does, also where a link is turned to another file (as Kubernetes renews secrets)."""
        files = [file for file in (self._cert, self._key, self._client_ca) if file is not None]
        try:
            return tuple(value for file in files for value in (file.stat().st_mtime_ns, file.stat().st_ino))
        except OSError as error:
            raise StartError(f"TLS: {error.filename} cannot be read: {error.strerror}.") from None
