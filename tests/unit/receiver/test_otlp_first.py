"""Which requests go straight to OTLP's endpoints."""

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from headrace.config import load
from headrace.otlp.signals import LOGS, METRICS, TRACES
from headrace.receiver.paths import OtlpFirst


class Named:
    """An application that notes that it was called."""

    def __init__(self, name: str, called: list[str]) -> None:
        self._name, self._called = name, called

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._called.append(self._name)


def answering(scope: Scope, path_prefix: str = "") -> str:
    """Who answers a request."""
    called: list[str] = []
    endpoints: Any = {signal: Named(signal.name, called) for signal in (TRACES, LOGS, METRICS)}
    nobody: Any = None
    with pytest.raises(StopIteration):
        OtlpFirst(Named("app", called), load(path_prefix=path_prefix), endpoints)(scope, nobody, nobody).send(None)
    return " ".join(called)


@pytest.mark.parametrize("name", ["traces", "logs", "metrics"])
def test_a_post_to_a_path_of_otlp_passes_the_app_by(name: str) -> None:
    request = {"type": "http", "method": "POST", "path": f"/v1/{name}"}
    assert answering(request) == name
    assert answering(request | {"path": f"/otel/v1/{name}"}, path_prefix="/otel") == name
    assert answering(request, path_prefix="/otel") == name


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "http", "method": "GET", "path": "/v1/traces"},
        {"type": "http", "method": "POST", "path": "/v1/traces/"},
        {"type": "http", "method": "POST", "path": "/otel/v1/traces"},
        {"type": "http", "method": "POST", "path": "/"},
        {"type": "lifespan"},
    ],
)
def test_all_else_is_the_app_s(scope: dict[str, str]) -> None:
    assert answering(scope) == "app"
