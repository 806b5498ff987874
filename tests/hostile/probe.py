"""What is done to a server before and while it is attacked."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from conftest import Running, wait_until

import otlp


class Health:
    """How long the answers took, in seconds."""

    def __init__(self) -> None:
        self.slowest = 0.0
        self.asked = 0
        self.failed: list[str] = []


@contextmanager
def health(url: str, verify: "ssl.SSLContext | bool" = True) -> Iterator[Health]:
    """Asks ten times a second for as long as the block runs, each time on a new connection."""
    seen, over = Health(), threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            began = time.monotonic()
            try:
                assert httpx.get(f"{url}/healthz", timeout=30, verify=verify).status_code == 200
            except (httpx.HTTPError, AssertionError) as error:
                seen.failed.append(repr(error))
            seen.asked += 1
            seen.slowest = max(seen.slowest, time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join()


def warm(running: Running, **headers: str) -> Running:
    """The first span takes seconds: MLflow is imported for it. Returns the server, which has written one."""
    assert running.post(otlp.request(otlp.span()).SerializeToString(), **headers).status_code == 200
    wait_until(running.drained, 60, "the first span written")
    return running
