"""The headers of a request, over HTTP and over gRPC: bytes as they came → texts by name. No I/O."""

from collections.abc import Iterable


def headers_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers with names in lower case → their values by name. The values of one that comes twice are joined (RFC 9110, section
    5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), _text(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _text(value: bytes) -> str:
    """HTTP does not say how a value beyond ASCII is encoded. Go's clients and curl send UTF-8, Python's send Latin-1, of which
    hardly any text is valid UTF-8 as well."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
