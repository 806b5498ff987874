"""What a client speaks, told by the first bytes that it sends. No I/O.

Sources: HTTP/2's preface, RFC 9113, section 3.4; TLS's ClientHello, RFC 8446, section 4.1.2; its list of protocols (ALPN),
RFC 7301, section 3.1.
"""

from typing import NamedTuple

HTTP, GRPC = "HTTP", "gRPC"
"""The two protocols of OTLP. HTTP is HTTP/1; only gRPC's clients begin with HTTP/2."""

_METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE", "CONNECT", "TRACE")
_BEGINNINGS = {b"PRI * HTTP/2.0\r\n": GRPC} | {f"{method} ".encode(): HTTP for method in _METHODS}
_HANDSHAKE = b"\x16\x03"
"""A record of a TLS handshake, of any version since SSL 3."""
_ALPN = b"\x00\x10"
_OFFERS = {b"\x02h2": GRPC, b"\x08grpc-exp\x02h2": GRPC, b"\x08http/1.1": HTTP}
"""Lists of protocols in a ClientHello that only one kind of client sends. A browser offers both, and many offer none."""


class Spoken(NamedTuple):
    """The protocol, HTTP, GRPC or "" if that cannot be told; and whether it is within TLS."""

    protocol: str
    tls: bool = False

    def __str__(self) -> str:
        if not self.protocol:
            return "TLS" if self.tls else "neither HTTP nor gRPC"
        return f"{self.protocol} over TLS" if self.tls else self.protocol


def spoken(first: bytes) -> Spoken | None:
    """The first bytes of a connection → what is spoken on it. None: that cannot be told before more bytes come."""
    for beginning, protocol in _BEGINNINGS.items():
        if first.startswith(beginning):
            return Spoken(protocol)
    if first.startswith(_HANDSHAKE):
        return Spoken(_offered(first), tls=True)
    if any(beginning.startswith(first) for beginning in (*_BEGINNINGS, _HANDSHAKE)):
        return None
    return Spoken("")


def _offered(hello: bytes) -> str:
    """The protocol that a ClientHello offers, if it offers only one of ours."""
    for offer, protocol in _OFFERS.items():
        extension = len(offer).to_bytes(2, "big") + offer
        if _ALPN + len(extension).to_bytes(2, "big") + extension in hello:
            return protocol
    return ""
