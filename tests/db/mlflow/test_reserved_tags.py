"""No client says where MLflow's server reads a trace's files: not of a new trace, and not of one that exists."""

from collections import Counter
from collections.abc import Callable

import pytest
from conftest import rows

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.reserved import RESERVED_TAGS
from headrace.mlflow.write import Writer
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database

WRITERS: dict[str, Callable[[Database], Writer]] = {
    "bulk": lambda database: BulkWriter(database, enrich=False),
    "bulk, enriching": lambda database: BulkWriter(database, enrich=True, note_unfinished=True),
    "MLflow's store": MlflowStoreWriter,
}
TRACE, ROOT = b"t" * 16, b"\1" * 8
SENT = {f"mlflow.traceTag.{key}": "file:///etc" for key in RESERVED_TAGS} | {"mlflow.traceTag.team": "shop"}
ROOTS = {
    "new": [otlp.span("root", TRACE, ROOT, attrs=SENT)],
    "the same root again": [otlp.span("root", TRACE, ROOT), otlp.span("root", TRACE, ROOT, attrs=SENT)],
    "a second root": [otlp.span("root", TRACE, ROOT), otlp.span("other", TRACE, b"\2" * 8, attrs=SENT)],
    "an earlier root": [otlp.span("root", TRACE, ROOT), otlp.span("other", TRACE, b"\2" * 8, start=otlp.START - 9, attrs=SENT)],
    "the root, after its child": [otlp.span("child", TRACE, b"\2" * 8, ROOT), otlp.span("root", TRACE, ROOT, attrs=SENT)],
}


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "one batch"])
@pytest.mark.parametrize("roots", ROOTS)
@pytest.mark.parametrize("name", WRITERS)
def test_reserved_tags_are_dropped_and_counted(
    database: Database, database_url: str, name: str, roots: str, at_once: bool
) -> None:
    writer = WRITERS[name](database)
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_HEADER)
    resource = {"headrace.finished": "by a client", "mlflow.artifactLocation": "file:///etc"}
    sent = [Delivery(otlp.request(span, **resource), (destination,), "", 0, "") for span in ROOTS[roots]]
    repaired = Counter[str]()
    for batch in [sent] if at_once else [[one] for one in sent]:
        repaired += writer.write(writer.translate(batch))
    found = {row["key"]: row["value"] for row in rows(database_url, "SELECT key, value FROM trace_tags")}
    assert found.pop("mlflow.artifactLocation").endswith(f"/traces/tr-{TRACE.hex()}/artifacts")
    assert found == {"mlflow.trace.spansLocation": "TRACKING_STORE", "team": "shop", "service.name": "checkout"}
    assert repaired["reserved_tag_dropped"] == len(RESERVED_TAGS) + len(sent)
