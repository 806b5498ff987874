"""The precedence of routes, and errors that say what to set."""

from typing import Any

import pytest

from headrace.config import Config, load
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import Unroutable
from headrace.processor.route import Route, route_headers, route_resource

ROUTES = """[
    {"match": {"service.name": "shop-*", "env": "prod"}, "experiment": "shop"},
    {"match": {"team": "*"}, "experiment": "{team}"}
]"""


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("HEADRACE_ROUTES", ROUTES)
    monkeypatch.setenv("HEADRACE_DEFAULT_EXPERIMENT", "svc/{service.name}")
    return load()


def test_the_id_header_wins_over_the_name_header() -> None:
    headers = {"x-mlflow-experiment-id": " 7 ", "x-mlflow-experiment-name": "shop"}
    assert route_headers(headers) == Route(7, "", pb.ROUTED_BY_HEADER)


@pytest.mark.parametrize("joined", ["7, 7", "7,7", " 7 ,7, 7"])
def test_a_header_that_comes_twice_with_the_same_value_says_it_once(joined: str) -> None:
    assert route_headers({"x-mlflow-experiment-id": joined}) == Route(7, "", pb.ROUTED_BY_HEADER)
    named = {"x-mlflow-experiment-name": joined.replace("7", "shop")}
    assert route_headers(named) == Route(None, "shop", pb.ROUTED_BY_HEADER)


def test_a_name_may_have_commas() -> None:
    for sent, name in (("a, b", "a, b"), ("a, b, a, b", "a, b"), ("a, b, a", "a, b, a")):
        assert route_headers({"x-mlflow-experiment-name": sent}) == Route(None, name, pb.ROUTED_BY_HEADER)


def test_two_different_ids_are_none() -> None:
    with pytest.raises(Unroutable, match="7, 8"):
        route_headers({"x-mlflow-experiment-id": "7, 8"})


def test_the_name_header() -> None:
    assert route_headers({"x-mlflow-experiment-name": "shop"}) == Route(None, "shop", pb.ROUTED_BY_HEADER)


def test_without_headers_the_resource_decides() -> None:
    assert route_headers({"x-mlflow-experiment-id": ""}) is None


@pytest.mark.parametrize(
    ("resource", "route"),
    [
        ({"mlflow.experiment.id": 3, "mlflow.experiment.name": "x"}, Route(3, "", pb.ROUTED_BY_RESOURCE)),
        ({"mlflow.experiment.id": "3"}, Route(3, "", pb.ROUTED_BY_RESOURCE)),
        ({"mlflow.experiment.name": "x", "team": "a"}, Route(None, "x", pb.ROUTED_BY_RESOURCE)),
        ({"service.name": "shop-cart", "env": "prod", "team": "a"}, Route(None, "shop", pb.ROUTED_BY_RULE)),
        ({"service.name": "shop-cart", "env": "dev", "team": "a"}, Route(None, "a", pb.ROUTED_BY_RULE)),
        ({"service.name": "mail"}, Route(None, "svc/mail", pb.ROUTED_BY_DEFAULT)),
    ],
)
def test_the_first_that_applies_wins(resource: dict[str, Any], route: Route, routed: Config) -> None:
    assert route_resource(resource, routed) == route


def test_a_template_whose_attribute_is_missing_says_so(routed: Config) -> None:
    with pytest.raises(Unroutable, match=r"no attribute 'service\.name'"):
        route_resource({}, routed)


def test_nothing_applies() -> None:
    with pytest.raises(Unroutable, match="HEADRACE_DEFAULT_EXPERIMENT"):
        route_resource({"service.name": "mail"}, load())


@pytest.mark.parametrize("bad", ["abc", "-1", "1.5", "99999999999", "²", "1e3"])
def test_an_id_that_is_no_number_is_a_client_s_error(bad: str) -> None:
    with pytest.raises(Unroutable, match="no experiment id"):
        route_headers({"x-mlflow-experiment-id": bad})


def test_a_name_that_cannot_be_stored_is_a_client_s_error() -> None:
    with pytest.raises(Unroutable, match="256"):
        route_headers({"x-mlflow-experiment-name": "x" * 257})
