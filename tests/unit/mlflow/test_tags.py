"""Which tags a trace gets from resources and root spans."""

from collections import Counter

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import otlp
from headrace.mlflow.keys import SPANS_LOCATION
from headrace.mlflow.text import Repairs
from headrace.mlflow.translate.tags import (
    bounded,
    is_tag_key,
    known_service,
    resource_tags,
    root_tags,
    session_and_user,
)


def resource(**attributes: object) -> Resource:
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    return Resource(attributes=otlp.attributes(named))


def test_a_resource_s_attributes_are_tags_but_for_mlflow_s_and_the_sdk_s() -> None:
    tags = resource_tags(resource(service_name="shop", telemetry_sdk_name="x", mlflow_experiment_id="1", replicas=3), Counter())
    assert tags == {"service.name": "shop", "replicas": "3"}
    assert resource_tags(Resource(), Counter()) is None


def test_an_attribute_without_a_value_is_no_tag() -> None:
    empty = resource(service_name="shop", owner=None, list=[], text="")
    assert resource_tags(empty, Counter(), null=False) == {"service.name": "shop", "list": "[]", "text": ""}
    assert resource_tags(empty, Counter()) == {"service.name": "shop", "owner": "null", "list": "[]", "text": ""}  # as MLflow's


def test_a_session_or_user_without_a_value_is_none() -> None:
    unset = {"session.id": "null", "gen_ai.conversation.id": '"c"', "user.id": "null"}  # the JSON of attributes without a value
    assert session_and_user(unset, Counter(), null=False) == ("c", None)
    assert session_and_user(unset, Counter()) == ("null", "null")  # as MLflow
    assert session_and_user({"session.id": '"null"'}, Counter(), null=False) == ("null", None)  # a text is one


def test_of_too_many_the_service_s_name_and_the_first_remain() -> None:
    many = resource(**{f"k{number}": "v" for number in range(10)}, service_name="shop")
    assert resource_tags(many, Counter(), 3) == {"service.name": "shop", "k0": "v", "k1": "v"}


def test_a_repair_is_counted_each_time_though_the_tags_are_cached() -> None:
    repaired: Repairs = Counter()
    for _ in range(2):
        assert resource_tags(resource(owner="a\0b"), repaired) == {"owner": "a\ufffdb"}
    assert repaired == {"nul_replaced": 2}


def test_tags_that_are_stored_stay_and_new_ones_come_in_an_order_of_their_own() -> None:
    new = dict.fromkeys(("z", "decided", "a", "service.name", SPANS_LOCATION, "stored"), "v")
    kept = bounded(new, stored=["stored", SPANS_LOCATION], decided=["decided"], most=4)
    assert set(kept) == {"stored", SPANS_LOCATION, "decided", "service.name", "a"}
    assert bounded(new, [], [], 128) == new
    assert set(bounded(new, ["1", "2"], [], 1)) == {SPANS_LOCATION}


def test_a_root_span_s_tags_and_name() -> None:
    repaired: Repairs = Counter()
    attributes = {
        "mlflow.traceTag.team": '"shop"',
        "mlflow.traceTag.mlflow.traceName": "n" * 5000,
        f"mlflow.traceTag.{SPANS_LOCATION}": '"elsewhere"',
        "other": "x",
    }
    tags, name = root_tags(attributes, repaired)
    assert tags == {"team": "shop"}
    assert name == "n" * 4096
    assert repaired == {"trace_name_cut": 1, "reserved_tag_dropped": 1}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, (None, None)),
        ({"session.id": '"s"', "user.id": '"u"'}, ("s", "u")),
        ({"gen_ai.conversation.id": '"c"'}, ("c", None)),
        ({"session.id": '"s"', "gen_ai.conversation.id": '"c"'}, ("s", None)),
        ({"session.id": "s" * 300}, ("s" * 250, None)),
    ],
)
def test_session_and_user(attributes: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    assert session_and_user(attributes, Counter()) == expected


@pytest.mark.parametrize(
    ("key", "good"), [("a.b/c-d_e 1", True), ("x" * 250, True), ("", False), ("a\0", False), ("../a", False)]
)
def test_which_keys_mlflow_takes(key: str, good: bool) -> None:
    assert is_tag_key(key) is good


def test_a_known_service_is_named() -> None:
    assert known_service(otlp.resource_spans(service="claude-code")) == "claude-code"
    assert known_service(otlp.resource_spans(service="shop")) is None
    assert known_service(otlp.resource_spans(service=None)) is None
