"""Prompts that MLflow's client notes on spans become links from the trace, as through MLflow's REST API."""

import json
from typing import Any

import pytest
from conftest import rows
from mlflow.entities import TraceState
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.config import sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.text import Repairs
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

GREETING, FAREWELL = {"name": "greeting", "version": "3"}, {"name": "farewell", "version": "1"}
NOTED = "mlflow.linkedPrompts"
TAG = f"mlflow.traceTag.{NOTED}"


def store(database: Database, *spans: Span, enrich: bool = True) -> Repairs:
    writer = BulkWriter(database, enrich)
    return writer.write(writer.translate([Delivery(otlp.request(*spans), (pb.Destination(experiment_id="0"),), "", 1, "")]))


def links(url: str) -> list[str]:
    query = "SELECT destination_id FROM entity_associations WHERE destination_type = 'prompt_version' ORDER BY 1"
    return [row["destination_id"] for row in rows(url, query)]


@pytest.mark.parametrize(
    "attrs",
    [
        {NOTED: json.dumps([GREETING])},
        {NOTED: json.dumps(json.dumps([GREETING]))},  # as an exporter sends it that has dumped each value as JSON before
        {TAG: json.dumps([GREETING])},
        {NOTED: [GREETING], TAG: json.dumps([GREETING])},
    ],
)
@pytest.mark.parametrize("parent", [b"", b"p" * 8], ids=["root", "child"])
def test_a_trace_is_linked_to_its_prompts(database: Database, database_url: str, attrs: dict[str, Any], parent: bytes) -> None:
    span = otlp.span("chat", parent=parent, attrs=attrs)
    for _ in range(2):
        store(database, span)
    assert links(database_url) == ["greeting/3"]


def test_mlflow_finds_the_trace_by_its_prompt(database: Database, database_url: str) -> None:
    trace_id = b"t" * 16
    store(database, otlp.span("first", trace_id, parent=b"r" * 8, attrs={NOTED: json.dumps([GREETING])}))
    store(database, otlp.span("root", trace_id, b"r" * 8, attrs={NOTED: json.dumps([FAREWELL, GREETING])}))
    store(database, otlp.span("other"))
    assert links(database_url) == ["farewell/1", "greeting/3"]
    store_of_mlflow = SqlAlchemyStore(sqlalchemy_url(database_url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    for prompt in ("greeting/3", "farewell/1"):
        found, _ = store_of_mlflow.search_traces(filter_string=f'prompt = "{prompt}"', locations=["0"])
        assert [(info.trace_id, info.state) for info in found] == [(f"tr-{trace_id.hex()}", TraceState.OK)]
    store_of_mlflow._dispose_engine()  # type: ignore[no-untyped-call]


ODD: list[Any] = [
    "",
    "x",
    "5",
    "{}",
    "[1, null, {}]",
    '[{"name": 5, "version": "1"}]',
    '[{"name": "a"}]',
    "[" * 5000,
    b"\xff",
    7,
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_what_names_no_prompt_links_none(database: Database, database_url: str, odd: Any) -> None:
    assert not store(database, otlp.span("chat", attrs={NOTED: odd}))["prompt_not_linked"]
    assert links(database_url) == []


def test_what_no_column_holds_is_counted(database: Database, database_url: str) -> None:
    many = [{"name": f"p{number:02}", "version": 1} for number in range(15)]
    odd = [{"name": "n" * 40, "version": "1"}, {"name": "a\0b", "version": "1"}, GREETING]
    assert store(database, otlp.span("chat", attrs={NOTED: json.dumps(odd)}))["prompt_not_linked"] == 2
    assert store(database, otlp.span("chat", attrs={NOTED: json.dumps(many)}))["prompt_not_linked"] == 5
    assert links(database_url) == ["greeting/3", *(f"p{number:02}/1" for number in range(10))]


def test_without_enrichment_there_are_no_links_as_in_mlflow(database: Database, database_url: str) -> None:
    store(database, otlp.span("chat", attrs={NOTED: json.dumps([GREETING])}), enrich=False)
    assert links(database_url) == []
