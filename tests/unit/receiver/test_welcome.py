"""What a browser sees at the receiver's port."""

import re
from pathlib import Path

import pytest
from starlette.requests import Request

from headrace.config import Config, load
from headrace.receiver.welcome import is_browser, welcome


def asked(host: str = "localhost:4318", accept: str = "text/html,application/xhtml+xml", method: str = "GET") -> Request:
    headers = [(b"host", host.encode()), (b"accept", accept.encode())]
    return Request({"type": "http", "method": method, "path": "/", "headers": headers, "query_string": b""})


@pytest.mark.parametrize(
    ("accept", "method", "expected"),
    [
        ("text/html", "GET", True),
        ("TEXT/HTML;q=0.9, */*", "HEAD", True),
        ("*/*", "GET", False),
        ("", "GET", False),
        ("application/json", "GET", False),
        ("text/html", "POST", False),
    ],
)
def test_who_is_a_browser(accept: str, method: str, expected: bool) -> None:
    assert is_browser(asked(accept=accept, method=method)) is expected


def page(host: str, config: Config | None = None) -> str:
    return bytes(welcome(asked(host), config or load()).body).decode()


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("localhost:4318", "http://localhost:4318"),
        ("otel.example", "http://otel.example"),
        ("10.0.0.7:4318", "http://10.0.0.7:4318"),
        ("[::1]:4318", "http://[::1]:4318"),
        ("", "http://localhost:4318"),
        ('"><script>alert(1)</script>', "http://localhost:4318"),
        ("a b", "http://localhost:4318"),
    ],
)
def test_the_lines_name_the_port_as_the_browser_has_reached_it(host: str, shown: str) -> None:
    text = page(host)
    assert f"export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={shown}/v1/traces\n" in text
    assert "<script" not in text


def test_it_leads_to_the_console_and_to_mlflow() -> None:
    text = page(
        "localhost", load(console_url="https://console.example/", ui_url="javascript:alert(1)", otlp_url="https://o.example")
    )
    assert re.findall(r'href="([^"]+)"', text) == ["https://console.example", "/readyz", "/openapi.json"]
    assert "ENDPOINT=https://o.example/v1/traces" in text
    assert re.findall(r'href="(http[^"]+)"', page("localhost")) == ["http://localhost:4319", "http://localhost:5000"]


def test_where_keys_are_the_lines_have_a_place_for_one() -> None:
    config = load(api_keys=Path("/nonexistent/keys.json"))
    assert "authorization=Bearer%20YOUR-KEY" in page("localhost", config)
    assert "YOUR-KEY" not in page("localhost")


def test_its_style_is_the_one_that_its_policy_allows_and_nothing_else_is() -> None:
    answer = welcome(asked(), load())
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]+='", policy)
    assert "unsafe" not in policy
