"""The list of what MLflow's server acts upon: whole, and kept."""

from collections import Counter
from typing import Any

import pytest
from mlflow.tracing import constant
from mlflow.utils.mlflow_tags import IMMUTABLE_TAGS

import otlp
from headrace.mlflow.keys import TAG_PREFIX
from headrace.mlflow.reserved import ATTRIBUTES, METADATA, OTHER_TAGS, RESERVED_TAGS
from headrace.mlflow.translate.tags import resource_tags, root_tags


def keys_of(constants: type[Any]) -> set[str]:
    return {value for name, value in vars(constants).items() if name.isupper() and isinstance(value, str)}


def test_each_key_of_mlflow_s_is_judged() -> None:
    """A release that knows another one fails here, until somebody has read what its server does with it."""
    assert keys_of(constant.TraceTagKey) <= RESERVED_TAGS.keys() | OTHER_TAGS.keys()
    assert keys_of(constant.TraceMetadataKey) == METADATA.keys()
    assert keys_of(constant.SpanAttributeKey) == ATTRIBUTES.keys()


def test_what_mlflow_lets_nobody_change_is_reserved() -> None:
    assert RESERVED_TAGS.keys() >= IMMUTABLE_TAGS
    assert not RESERVED_TAGS.keys() & OTHER_TAGS.keys()


@pytest.mark.parametrize("key", RESERVED_TAGS)
@pytest.mark.parametrize("value", ["x", '"x"', "", "{}"], ids=repr)
def test_a_reserved_tag_of_a_root_is_dropped_and_counted(key: str, value: str) -> None:
    repaired = Counter[str]()
    assert root_tags({f"{TAG_PREFIX}{key}": value, f"{TAG_PREFIX}team": "a"}, repaired) == ({"team": "a"}, None)
    assert repaired == {"reserved_tag_dropped": 1}


@pytest.mark.parametrize("key", RESERVED_TAGS)
def test_a_reserved_tag_of_a_resource_is_dropped(key: str) -> None:
    resource = otlp.resource_spans(service="shop", **{key: "x"}).resource
    assert resource_tags(resource, Counter()) == {"service.name": "shop"}


def test_headrace_s_own_tag_is_counted_each_time_though_tags_are_cached() -> None:
    repaired = Counter[str]()
    for _ in range(2):
        resource_tags(otlp.resource_spans(service="shop", **{"headrace.finished": "x"}).resource, repaired)
    assert repaired == {"reserved_tag_dropped": 2}
