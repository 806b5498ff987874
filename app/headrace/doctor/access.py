"""Who may send, and how the way is encrypted."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from headrace.config import Config
from headrace.doctor import Finding, ok, wrong
from headrace.errors import StartError
from headrace.receiver.auth import Keys
from headrace.receiver.tls import Certificates

_SOON = timedelta(days=14)


def keys(config: Config) -> Iterator[Finding]:
    """The file of API keys: whether it can be read, and when its keys expire."""
    if config.api_keys is None:
        yield _without_keys(config)
        return
    try:
        found = Keys.open(config.api_keys).read()
    except StartError as error:
        yield wrong("API keys", "keys-unreadable", str(error))
        return
    if all(key.expired for key in found):
        yield wrong("API keys", "keys-expired", f"{config.api_keys} has {len(found)} keys, and none is valid.")
        return
    soon = datetime.now(timezone.utc) + _SOON
    expiring = [key for key in found if key.expires is not None and key.expires < soon]
    for key in expiring:
        yield wrong("API keys", "key-expires", f"The key {key.name!r} expires on {key.expires:%Y-%m-%d}.")
    if not expiring:
        yield ok("API keys", f"{len(found)} keys, none of which expires within {_SOON.days} days.")


def _without_keys(config: Config) -> Finding:
    if config.on_loopback or config.trusted_network or config.knows_clients:
        return ok("API keys", "None are asked for.")
    return wrong("API keys", "open-to-all", f"Headrace listens on {config.host} and asks for neither keys nor certificates.")


def tls(config: Config) -> Iterator[Finding]:
    """Whether the certificate can be used, and until when it is valid."""
    if config.tls_cert is None:
        yield ok("TLS", "Not used.")
        return
    try:
        Certificates.of(config)
    except StartError as error:
        yield wrong("TLS", "tls-unusable", str(error))
        return
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(config.tls_cert.read_bytes())
    begins, ends, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(timezone.utc)
    said = f"{config.tls_cert} is valid from {begins:%Y-%m-%d} until {ends:%Y-%m-%d}."
    if not begins <= now < ends:
        yield wrong("TLS", "tls-expired", said)
    elif ends < now + _SOON:
        yield wrong("TLS", "tls-expires", said)
    else:
        yield ok("TLS", said)
