"""Whatever a text holds, a span that comes to a known trace makes the rows that it makes in a new one."""

from typing import Any

import pytest
from conftest import rows

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

ODD = ("NULL", 'say "hi"', '","', "a\\b\\", "{a,b}", "'", " ", "two\nlines\tand a tab", "\\N", "é☃𝄞", "%s %(x)s", "{}")
TABLES = (
    "SELECT name, type, status, content FROM spans ORDER BY span_id",
    "SELECT key, replace(value, request_id, '') AS value FROM trace_tags ORDER BY 1",
    "SELECT key, value FROM trace_request_metadata ORDER BY 1",
    "SELECT trace_name, session_id, request_preview, response_preview, status, total_tokens, total_cost FROM trace_info",
    "SELECT service, name FROM headrace.operation ORDER BY 1, 2",
)


def write(writer: BulkWriter, spans: list[Any], resource: dict[str, str]) -> None:
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_DEFAULT)
    writer.write(writer.translate([Delivery(otlp.request(*spans, **resource), (destination,), "", 0, "")]))


def rows_of(url: str) -> list[list[dict[str, Any]]]:
    found = [rows(url, query) for query in TABLES]
    rows(url, "WITH gone AS (DELETE FROM trace_info), too AS (DELETE FROM headrace.operation) SELECT 1")
    return found


@pytest.mark.parametrize("enrich", [False, True], ids=["as MLflow", "enriched"])
def test_odd_texts_stand_in_a_known_trace_as_in_a_new_one(database: Database, database_url: str, enrich: bool) -> None:
    for number, text in enumerate(ODD):
        said = dict.fromkeys(("session.id", "user.id", "input.value", "output.value", "mlflow.spanType", text), text)
        said |= {"gen_ai.request.model": text, "gen_ai.provider.name": text, f"mlflow.traceTag.{text}": text}
        said_and_used = said | {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4}
        trace = bytes([number + 1]) * 16
        root = otlp.span(text, trace, b"\1" * 8, attrs=said)
        child = otlp.span(text, trace, b"\2" * 8, b"\1" * 8, attrs=said_and_used)
        resource = {"service.name": text, "service.version": text, text: text}
        write(BulkWriter(database, enrich), [root, child], resource)
        whole = rows_of(database_url)
        for parts in ([child], [root]) if enrich else ([root], [child]), ([root, child], [root, child]):
            writer = BulkWriter(database, enrich)
            for part in parts:
                write(writer, part, resource)
            assert rows_of(database_url) == whole, text
