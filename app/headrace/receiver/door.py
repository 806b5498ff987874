"""Tells a client that came to the wrong port, or speaks TLS where it should not, which port is the right one. It counts and
logs such clients."""

import asyncio
import ssl
from collections.abc import Callable

from headrace.config import Config
from headrace.receiver.crowd import Crowd
from headrace.receiver.first_bytes import GRPC, HTTP, Spoken, spoken
from headrace.receiver.leaving import leave
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import CONNECTIONS_CLOSED, TLS_FAILURES

_STAY = {HTTP: "http/protobuf", GRPC: "grpc"}
"""The values of OTEL_EXPORTER_OTLP_PROTOCOL."""

_FAILURES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "no_certificate",
        "the client shows no certificate, and HEADRACE_TLS_CLIENT_CA asks for one: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE "
        "and OTEL_EXPORTER_OTLP_CLIENT_KEY in the client",
    ),
    "UNSUPPORTED_PROTOCOL": ("version", "the client speaks no TLS 1.2 or later"),
    "VERSION_TOO_LOW": ("version", "the client speaks no TLS 1.2 or later"),
    "NO_SHARED_CIPHER": ("version", "client and server have no cipher in common"),
}
"""OpenSSL's name of an error → the reason that is counted, and the sentence that is logged."""
_BAD_CERTIFICATE = "the client's certificate is not accepted ({}): it must come from an authority in HEADRACE_TLS_CLIENT_CA"
_REFUSED = (
    "the client does not accept this server's certificate, or its TLS ({}): name the authority of HEADRACE_TLS_CERT in the "
    "client, with OTEL_EXPORTER_OTLP_CERTIFICATE"
)


class Greeting:
    """The first bytes of one connection. They are held back until it is known which protocol the client speaks."""

    def __init__(self, door: "Door", crowd: Crowd) -> None:
        self._door = door
        self._crowd = crowd
        self._first = b""
        self.over = False
        """Whether that is known."""

    def take(self, data: bytes, transport: asyncio.Transport) -> bytes:
        """Bytes that have come → the bytes to parse. Empty: more bytes are needed; or the client is at the wrong port, was told
        the right one, and its connection closes."""
        self._first += data
        told = spoken(self._first)
        if told is None or transport.is_closing():
            return b""
        self.over = True
        if self._door.is_right(told):
            return self._first
        address = (transport.get_extra_info("peername") or ("",))[0]
        secure = transport.get_extra_info("ssl_object") is not None
        leave(transport, self._door.turn_away(told, str(address), secure=secure), self._crowd)
        return b""


class Door:
    """The port of one protocol, HTTP or GRPC, of this process. `answer`: a sentence for a client that does not speak it → the
    bytes that are sent."""

    def __init__(self, protocol: str, config: Config, answer: Callable[[str], bytes]) -> None:
        self._protocol = protocol
        self._answer = answer
        self._tls = config.tls_cert is not None
        self._ports = {
            HTTP: f"{config.http_port} (HEADRACE_HTTP_PORT)",
            GRPC: f"{config.grpc_port} (HEADRACE_GRPC_PORT)",
        }

    def is_right(self, told: Spoken) -> bool:
        """Whether this protocol belongs to this port. If the protocol is unknown, it may belong here: the parser will refuse it
        if not."""
        return told.protocol in ("", self._protocol) and not told.tls

    def turn_away(self, told: Spoken, address: str, *, secure: bool) -> bytes:
        """Counts and logs a client that speaks this to the wrong port. `secure`: it does so within TLS. Returns the answer that
        tells the client where to go."""
        CONNECTIONS_CLOSED.labels("wrong_port").inc()
        return self._answer(self._tell(told._replace(tls=told.tls or secure), address))

    def handshake_ended(self, first: bytes, error: ssl.SSLError | None) -> None:
        """To be called when a TLS handshake has ended, with the first bytes that the client sent, and the error if it
        failed."""
        told = spoken(first) or Spoken("")
        if error is None:  # gRPC's clients close a connection whose server did not agree to HTTP/2, and say nothing on it
            if told.protocol not in ("", self._protocol):
                self._tell(told, "")
        elif told.protocol and not told.tls:
            TLS_FAILURES.labels("plain_text").inc()
            self._tell(told, "")
        else:
            reason, said = _why(error)
            TLS_FAILURES.labels(reason).inc()
            log_rarely("TLS handshakes fail", f"tls_{self._protocol}_{reason}", port=self._ports[self._protocol], reason=said)

    def _tell(self, told: Spoken, address: str) -> str:
        mend = self.mend(told)
        who = {"address": address} if address else {}
        here = f"OTLP/{self._protocol}{' over TLS' if self._tls else ''}"
        log_rarely("wrong port", f"wrong_port_{self._protocol}_{told}", spoken=str(told), port_of=here, mend=mend, **who)
        return f"This is the port of {here}, and {told} was spoken to it: {mend}."

    def mend(self, told: Spoken) -> str:
        """What a client that speaks this should do."""
        protocol = told.protocol or self._protocol
        words = f"send OTLP/{protocol} to port {self._ports[protocol]}"
        if told.tls and not self._tls:
            words += ", without TLS (http://), or set HEADRACE_TLS_CERT and HEADRACE_TLS_KEY"
        elif self._tls and not told.tls:
            words += ", with TLS (https://)"
        if protocol != self._protocol:
            words += f"; or stay on this port with OTEL_EXPORTER_OTLP_PROTOCOL={_STAY[self._protocol]}"
        return words


def _why(error: ssl.SSLError) -> tuple[str, str]:
    """Why a handshake failed: the reason that is counted, and a sentence for the log."""
    name = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "bad_certificate", _BAD_CERTIFICATE.format(error.verify_message)
    if "ALERT" in name:
        return "client_refused", _REFUSED.format(name.partition("ALERT_")[2].replace("_", " ").lower())
    return _FAILURES.get(name, ("other", f"OpenSSL says: {name.replace('_', ' ').lower() or error}"))
