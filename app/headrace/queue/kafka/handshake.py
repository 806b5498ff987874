"""Why there is no TLS with a broker. librdkafka says only that a certificate was not verified; Python's TLS says why not."""

import socket
import ssl
from collections.abc import Iterator

from headrace.config.kafka import KafkaUrl


def why_no_tls(url: KafkaUrl, timeout: float) -> str:
    """Shakes hands with each broker, until one says why not. Empty: all of them do, or none can be asked."""
    try:
        context = ssl.create_default_context(cafile=url.ca or None)
        if url.cert:
            context.load_cert_chain(url.cert, url.key, password="")  # never asks at the terminal
    except (OSError, ValueError) as error:
        return str(error)
    return next(filter(None, (_trouble(context, *address, timeout) for address in _addresses(url))), "")


def wants_tls(url: KafkaUrl, timeout: float) -> bool:
    """Whether a broker answers with TLS, of which the URL says nothing."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent: only whether it speaks TLS is asked
    return any(_shakes(context, host, port, timeout) for host, port in _addresses(url))


def _addresses(url: KafkaUrl) -> Iterator[tuple[str, int]]:
    for address in url.brokers.split(","):
        host, _, port = address.rpartition(":")
        yield host.strip("[]"), int(port)


def _trouble(context: ssl.SSLContext, host: str, port: int, timeout: float) -> str:
    try:
        _shake(context, host, port, timeout)
    except ssl.SSLCertVerificationError as error:
        return f"certificate verify failed: {error.verify_message}"
    except ssl.SSLError as error:
        return str(error.reason or error).lower().replace("_", " ")
    except OSError:
        pass
    return ""


def _shakes(context: ssl.SSLContext, host: str, port: int, timeout: float) -> bool:
    try:
        _shake(context, host, port, timeout)
    except OSError:
        return False
    return True


def _shake(context: ssl.SSLContext, host: str, port: int, timeout: float) -> None:
    with socket.create_connection((host, port), timeout) as plain, context.wrap_socket(plain, server_hostname=host):
        pass
