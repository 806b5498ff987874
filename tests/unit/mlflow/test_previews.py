"""A root in a few words: the operation of an agent, the path that was called, a query; and how it ended."""

from typing import Any

import pytest

import otlp
from headrace.mlflow.translate.content import dump_all
from headrace.mlflow.translate.enrich import is_transport, request_preview, response_preview

GET = {"http.request.method": "GET"}
ROUTE = {"http.route": "/orders/{id}"}


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        (GET | ROUTE | {"url.path": "/orders/5"}, "GET /orders/5"),
        (
            GET | ROUTE | {"url.path": "/orders/5", "url.query": "a=1", "url.full": "http://x.test/orders/5?a=1"},
            "GET /orders/5",
        ),
        (GET | ROUTE | {"url.full": "https://x.test:8443/orders/5?token=secret#top"}, "GET /orders/5"),
        ({"http.method": "GET", "http.target": "/orders/5?a=1"} | ROUTE, "GET /orders/5"),
        ({"http.method": "GET", "http.url": "http://x.test/orders/5"} | ROUTE, "GET /orders/5"),
        ({"http.method": "GET", "http.target": "/orders/5?a=1"}, "GET /orders/5"),
        (GET | ROUTE, "GET /orders/{id}"),
        (GET | ROUTE | {"url.full": "odd"}, "GET /orders/{id}"),
        (GET | ROUTE | {"url.full": "http://x.test"}, "GET /orders/{id}"),
        (GET | {"url.full": "http://x.test/orders/5"}, "GET http://x.test/orders/5"),
        (GET, "GET work"),
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"} | GET | ROUTE, "chat m"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a", "gen_ai.request.model": "m"}, "invoke_agent a"),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, "execute_tool t"),
        ({"gen_ai.operation.name": "chat"} | GET, "work"),
        ({"db.operation.name": "SELECT", "db.collection.name": "orders"}, "SELECT orders"),
    ],
)
def test_the_request(attrs: dict[str, Any], expected: str) -> None:
    dumped, _, _ = dump_all(otlp.span(attrs=attrs))
    assert request_preview("work", dumped) == expected


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        (GET | {"http.response.status_code": 200}, "200"),
        ({"gen_ai.operation.name": "chat", "http.response.status_code": 200}, "OK"),
        ({}, "OK"),
    ],
)
def test_the_response(attrs: dict[str, Any], expected: str) -> None:
    span = otlp.span(attrs=attrs)
    assert response_preview(span, dump_all(span)[0]) == expected


@pytest.mark.parametrize(
    ("attrs", "kind", "expected"),
    [
        (GET, 3, True),
        ({"http.method": "GET"}, 0, True),
        ({"rpc.system": "grpc"}, 0, True),
        ({}, 2, True),
        ({"messaging.system": "kafka"}, 5, True),
        ({}, 1, False),
        ({"gen_ai.operation.name": "chat"} | GET, 3, False),
    ],
)
def test_what_only_carries_an_agent_s_work(attrs: dict[str, Any], kind: Any, expected: bool) -> None:
    span = otlp.span(attrs=attrs, kind=kind)
    assert is_transport(span, dump_all(span)[0]) is expected
