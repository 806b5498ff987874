"""MLflow 3.14 to 3.16: the same writer, its totals in the tables where those releases look for them."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing

import psycopg
import pytest
from conftest import rows
from older import downgrade
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.rights import check_rights
from headrace.mlflow.schema import known_shape, open_writer
from headrace.mlflow.shape.known import TOTALS_IN_ROWS
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.finish import finish_quiet
from headrace.store.database import Database

TRACE, ROOT, CHILD = b"t" * 16, b"\1" * 8, b"\2" * 8
LLM = {
    "mlflow.chat.tokenUsage": json.dumps({"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}),
    "mlflow.llm.cost": json.dumps({"input_cost": 0.5, "output_cost": 0.25, "total_cost": 0.75}),
    "mlflow.llm.model": "large",
    "mlflow.llm.provider": "us",
    "session.id": "s1",
    "user.id": "me",
}


@pytest.fixture(scope="module")
def older_url(clone_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with clone_database() as url:
        downgrade(url, "3.16")
        yield url


@pytest.fixture
def url(older_url: str, new_database: Callable[..., str]) -> str:
    """A database of 3.16."""
    return new_database(older_url)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as opened:
        yield opened


def write(writer: Writer, *spans: Span) -> None:
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_HEADER)
    writer.write(writer.translate([Delivery(otlp.request(*spans), (destination,), "", otlp.START, "")]))


def metadata(url: str) -> dict[str, object]:
    found = rows(url, "SELECT key, value FROM trace_request_metadata")
    return {row["key"]: json.loads(row["value"]) if row["value"][0] == "{" else row["value"] for row in found}


@pytest.mark.parametrize("enrich", [False, True])
@pytest.mark.parametrize("together", [True, False], ids=["one request", "two requests"])
def test_totals_stand_where_older_releases_look_for_them(database: Database, url: str, enrich: bool, together: bool) -> None:
    writer = open_writer(database, enrich)
    assert isinstance(writer, BulkWriter)
    root, child = otlp.span("root", TRACE, ROOT), otlp.span("child", TRACE, CHILD, ROOT, attrs=LLM)
    for spans in ((root, child),) if together else ((child,), (root,), (child,)):
        write(writer, *spans)
    found = metadata(url)
    assert found["mlflow.trace.session"] == "s1"
    assert found["mlflow.trace.user"] == "me"
    assert found["mlflow.trace.tokenUsage"] == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    assert found["mlflow.trace.cost"] == {"input_cost": 0.5, "output_cost": 0.25, "total_cost": 0.75}
    assert {row["key"]: row["value"] for row in rows(url, "SELECT * FROM trace_metrics")} == {
        "input_tokens": 7.0,
        "output_tokens": 3.0,
        "total_tokens": 10.0,
    }
    assert {row["key"]: row["value"] for row in rows(url, "SELECT * FROM span_metrics")} == found["mlflow.trace.cost"]
    dimensions = {row["name"]: row["d"] for row in rows(url, "SELECT name, dimension_attributes::text AS d FROM spans")}
    assert dimensions["root"] == "null"
    assert json.loads(dimensions["child"]) == {"mlflow.llm.model": "large", "mlflow.llm.provider": "us"}
    tags = {row["key"]: row["value"] for row in rows(url, "SELECT key, value FROM trace_tags")}
    assert tags.get("mlflow.traceName") == ("root" if enrich else None)


def test_a_trace_without_a_root_is_finished(database: Database, url: str) -> None:
    write(open_writer(database, note_unfinished=True), otlp.span("child", TRACE, CHILD, ROOT))
    shape = known_shape(database)
    assert shape is TOTALS_IN_ROWS
    finish_quiet(database, 0, shape)
    assert [row["status"] for row in rows(url, "SELECT status FROM trace_info")] == ["OK"]
    tags = {row["key"]: row["value"] for row in rows(url, "SELECT key, value FROM trace_tags")}
    assert tags["mlflow.traceName"] == "child"


def test_the_rights_are_those_of_the_shape(database: Database) -> None:
    open_writer(database)
    check_rights(database, True, known_shape(database))


def test_columns_that_are_filled_ahead_of_the_migration_do_not_make_it_the_newer_shape(database: Database, url: str) -> None:
    """As by MLflow's tool that fills 3.17's columns while 3.16 runs."""
    columns = ["trace_name varchar(4096)", "session_id varchar(250)", "input_tokens bigint", "total_cost float8"]
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE trace_info " + ", ".join(f"ADD {column}" for column in columns))
    open_writer(database)
    assert known_shape(database) is TOTALS_IN_ROWS
