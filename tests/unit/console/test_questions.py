"""Jaeger's questions → ours, and who may read what."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from readers import MemoryReader

from headrace.console.access import named, readable
from headrace.console.jaeger.questions import kind_of, to_query
from headrace.console.jaeger.trace_storage_pb2 import AnyValue, KeyValue, TraceQueryParameters
from headrace.envelope.limit import Limit
from headrace.reader import Query


def test_all_that_jaeger_can_ask() -> None:
    asked = TraceQueryParameters(
        service_name="web",
        operation_name="buy",
        attributes=[
            KeyValue(key="error", value=AnyValue(string_value="true")),
            KeyValue(key="n", value=AnyValue(int_value=2**60)),
            KeyValue(key="ok", value=AnyValue(bool_value=True)),
            KeyValue(key="mlflow.experiment", value=AnyValue(string_value="7")),
        ],
        start_time_min=Timestamp(seconds=5, nanos=3),
        start_time_max=Timestamp(seconds=9),
        duration_min=Duration(nanos=7),
        duration_max=Duration(seconds=1),
        search_depth=3,
    )
    wanted = {"error": "true", "n": str(2**60), "ok": "true"}
    assert to_query(asked, [7]) == Query([7], "web", "buy", wanted, 7, 10**9, 5 * 10**9 + 3, 9 * 10**9 + 1, None, 3)


def test_what_is_not_asked_for() -> None:
    """Durations come as 0, and the depth not at all."""
    assert to_query(TraceQueryParameters(duration_min=Duration(), duration_max=Duration()), None) == Query()
    assert to_query(TraceQueryParameters(search_depth=-5, start_time_min=Timestamp(seconds=-9)), None) == Query()


@pytest.mark.parametrize(
    ("name", "kind"), [("", None), ("server", 2), ("SPAN_KIND_CLIENT", 3), ("Internal", 1), ("unspecified", 0), ("odd", -1)]
)
def test_kinds(name: str, kind: int | None) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("key", "names", "expected"),
    [
        ((), [], None),
        ((), ["1"], {1}),
        ((), ["shop"], {1}),
        ((), ["nobody"], set()),
        ((), ["9" * 30], set()),
        ((), ["٣"], set()),  # a digit, but no id
        ((), ["shop", "2"], set()),
        (("shop", "2"), [], {1, 2}),
        (("shop", "2"), ["shop"], {1}),
        (("shop", "2"), ["0"], set()),
        (("nobody",), [], set()),
        (("2",), ["2"], {2}),
    ],
)
def test_what_may_be_read(key: tuple[str, ...], names: list[str], expected: "set[int] | None") -> None:
    reader = MemoryReader([], {0: "Default", 1: "shop", 2: "bank"})
    found = readable(reader, Limit.of(key), names)
    assert (found if found is None else set(found)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, []),
        ({"x-tenant": " shop "}, ["shop"]),
        ({"x-tenant": " "}, []),
        ({"x-mlflow-experiment-id": "7", "x-tenant": "a"}, ["a", "7"]),
    ],
)
def test_headers_name_experiments(headers: dict[str, Any], expected: list[str]) -> None:
    assert named(headers) == expected
