"""Which endpoints are Headrace itself."""

import socket

import pytest

from headrace.errors import StartError
from headrace.tracing.loop import METRICS, refuse_loop


@pytest.mark.parametrize(
    ("endpoint", "host", "refused"),
    [
        ("http://127.0.0.1:4318/v1/traces", "127.0.0.1", True),
        ("http://localhost:4318/v1/traces", "127.0.0.1", True),
        ("http://localhost:4317/v1/traces", "127.0.0.1", True),
        ("http://0.0.0.0:4318/v1/traces", "127.0.0.1", True),
        ("https://127.0.0.1:4318/v1/traces", "0.0.0.0", True),
        ("http://127.3.2.1:4318/otel/v1/traces", "0.0.0.0", True),
        (f"http://{socket.gethostbyname(socket.gethostname())}:4318/v1/traces", "0.0.0.0", True),
        ("http://127.0.0.1:4318/v1/traces", "::", True),
        ("http://[::ffff:127.0.0.1]:4318/v1/traces", "127.0.0.1", True),
        ("http://127.0.0.1:4319/v1/traces", "127.0.0.1", False),
        ("http://127.0.0.2:4318/v1/traces", "127.0.0.1", False),
        ("http://192.0.2.1:4318/v1/traces", "0.0.0.0", False),
        ("http://collector.invalid:4318/v1/traces", "0.0.0.0", False),
        ("http://127.0.0.1/v1/traces", "127.0.0.1", False),
    ],
)
def test_which_endpoints_are_ourselves(endpoint: str, host: str, refused: bool) -> None:
    if refused:
        with pytest.raises(StartError, match="is this Headrace itself"):
            refuse_loop(endpoint, host, (4318, 4317))
    else:
        refuse_loop(endpoint, host, (4318, 4317))


def test_metrics_are_not_passed_on_to_this_headrace() -> None:
    with pytest.raises(StartError, match=r"HEADRACE_METRICS_FORWARD, 127\.0\.0\.1:4318, is this Headrace itself"):
        refuse_loop("http://127.0.0.1:4318/v1/metrics", "127.0.0.1", (4318,), METRICS)
