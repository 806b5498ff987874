"""By which names requests may call Headrace, and which web pages may send."""

import asyncio
from functools import cache
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from headrace.config import Config, load
from headrace.errors import PermissionDenied
from headrace.receiver.hosts import with_checked_hosts
from headrace.receiver.origins import Origins


@cache
def loaded(**overrides: Any) -> Config:
    """The same settings are read once."""
    return load(**overrides)


async def _reached(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def answer(config: Config, *hosts: str, method: str = "GET", path: str = "/metrics") -> int:
    """The status that a request with these Host headers gets."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": headers}

    async def ask() -> None:
        await with_checked_hosts(_reached, config)(scope, _nothing, send)

    asyncio.run(ask())
    return int(told[0]["status"])


OURS = ["localhost", "LOCALHOST:4318", "localhost.", "127.0.0.1:4318", "127.8.8.8", "[::1]:4318", "[::1]", "a.localhost:1"]
STRANGERS = [
    *("evil.example", "evil.example:4318", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0:4318", "[::]", "x"),
    *(
        "10.0.0.1",
        "[::1",
        "localhost, evil.example",
        "localhost@evil.example",
        "notlocalhost",
        "",
        "\xff",
        "127.1",
        "2130706433",
    ),
]


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
@pytest.mark.parametrize("host", OURS)
def test_on_loopback_its_names_are_answered(host: str, listens_on: str) -> None:
    assert answer(loaded(host=listens_on), host) == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("host", STRANGERS)
def test_on_loopback_no_other_name_is_answered(host: str, method: str) -> None:
    assert answer(loaded(), host, method=method) == 403


def test_of_two_names_both_are_looked_at() -> None:
    assert answer(loaded(), "localhost", "evil.example") == 403
    assert answer(loaded(), "evil.example", "localhost") == 403


def test_a_request_without_a_name_is_no_browser_s() -> None:
    assert answer(loaded()) == 200


def test_a_proxy_s_names_are_named() -> None:
    config = loaded(allowed_hosts=" otel.example, Other.Example. ")
    assert [answer(config, host) for host in ("otel.example:443", "other.example", "localhost", "evil.example")] == [
        *[200] * 3,
        403,
    ]
    assert answer(loaded(allowed_hosts="*"), "evil.example") == 200


@pytest.mark.parametrize("listens_on", ["0.0.0.0", "::", "10.1.2.3"])
def test_elsewhere_any_name_is_answered_unless_they_are_named(listens_on: str) -> None:
    assert answer(loaded(host=listens_on), "otel.example") == 200
    assert answer(loaded(host=listens_on, allowed_hosts="otel.example"), "otel.example") == 200
    assert answer(loaded(host=listens_on, allowed_hosts="otel.example"), "evil.example") == 403


@pytest.mark.parametrize(
    ("allowed", "origin", "may"),
    [
        ("", None, True),
        ("", "http://evil.example", False),
        ("", "null", False),
        ("", "", False),
        ("", "http://localhost:4318", False),
        ("https://shop.example", "https://shop.example", True),
        ("https://shop.example", "https://shop.example.evil.example", False),
        ("https://shop.example", "http://shop.example", False),
        ("https://*.example", "https://a.example", True),
        ("https://*.example", "https://a.example/.evil", False),
        ("*", "http://anything", True),
    ],
)
def test_which_pages_may_send(allowed: str, origin: str | None, may: bool) -> None:
    origins = Origins(loaded(cors_origins=allowed))
    headers = {} if origin is None else {"origin": origin}
    if may:
        origins.check(headers)
    else:
        with pytest.raises(PermissionDenied, match="HEADRACE_CORS_ORIGINS"):
            origins.check(headers)
