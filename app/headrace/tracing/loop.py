"""Refuses an endpoint that we send to and that is this Headrace itself."""

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import psutil

from headrace.errors import StartError

Address = IPv4Address | IPv6Address

_LOOPBACK = {4: ip_address("127.0.0.1"), 6: ip_address("::1")}


TRACES = (
    "HEADRACE_TRACES_ENDPOINT",
    "it would trace the receipt of its own traces. Send them to another Headrace, to MLflow's own /v1/traces, or to a "
    "Collector",
)
METRICS = ("HEADRACE_METRICS_FORWARD", "it would pass the same metrics on for ever. Name a store for metrics, or a Collector")


def refuse_loop(endpoint: str, host: str, ports: Collection[int], setting: tuple[str, str] = TRACES) -> None:
    """Checks the URL `endpoint` against the address `host` and the `ports` that we listen on. Resolves host names.

    `setting`: the name of the endpoint's setting, and what would happen and what to do instead.

    Raises:
        StartError: the endpoint is one of our own ports.
    """
    url = urlsplit(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    if port not in ports:
        return
    ours = _addresses(host)
    everywhere = any(address.is_unspecified for address in ours)
    if everywhere:
        ours |= _of_this_machine()
    # A connection to 0.0.0.0 goes to this machine's loopback address.
    theirs = {_LOOPBACK[a.version] if a.is_unspecified else a for a in _addresses(url.hostname or "")}
    if any(address in ours or (everywhere and address.is_loopback) for address in theirs):
        name, why = setting
        raise StartError(f"{name}, {url.hostname}:{port}, is this Headrace itself: {why}; or unset it.")


def _addresses(host: str) -> set[Address]:
    """A host's addresses. Empty if its name cannot be resolved now."""
    try:
        return {_plain(str(info[4][0])) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _of_this_machine() -> set[Address]:
    addresses = (each for interface in psutil.net_if_addrs().values() for each in interface)
    return {_plain(each.address) for each in addresses if each.family in (socket.AF_INET, socket.AF_INET6)}


def _plain(text: str) -> Address:
    """An address without its zone. An IPv4 address mapped into IPv6 becomes IPv4."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
