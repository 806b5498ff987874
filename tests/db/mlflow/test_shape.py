"""MLflow's tables are judged by what they are, not by the name of their revision: what future ones may bring."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
import structlog
from conftest import rows
from sqlalchemy import Connection

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import StartError, TablesChanged
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.fallback import MlflowStoreWriter
from headrace.mlflow.schema import open_writer, verify_mlflow_schema
from headrace.mlflow.shape import look
from headrace.mlflow.tables import Tables
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.signals import TRACES
from headrace.store.database import Database
from headrace.store.migrations import migrate
from headrace.telemetry.metrics import TABLES_FIT

FUTURE = "UPDATE alembic_version SET version_num = 'ffffffffffff'"

HARMLESS = {
    "a nullable column": "ALTER TABLE spans ADD tenant text",
    "a column with a default": "ALTER TABLE trace_info ADD tenant text NOT NULL DEFAULT 'me'",
    "a generated column": "ALTER TABLE spans ADD long bool NOT NULL GENERATED ALWAYS AS (content <> '') STORED",
    "a number of its own": "ALTER TABLE spans ADD number bigint GENERATED ALWAYS AS IDENTITY UNIQUE",
    "a serial number": "ALTER TABLE trace_tags ADD number bigserial UNIQUE",
    "a UUID of its own": "ALTER TABLE trace_tags ADD uid uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE",
    "an optional unique column": "ALTER TABLE trace_info ADD alias text UNIQUE",
    "an index": "CREATE INDEX ON spans (name)",
    "a unique index that is wider than the key": "CREATE UNIQUE INDEX ON spans (trace_id, span_id, start_time_unix_nano)",
    "a table": "CREATE TABLE span_notes (id text PRIMARY KEY REFERENCES trace_info ON DELETE CASCADE, note text NOT NULL)",
    "a foreign key of a column that is left out": (
        "CREATE TABLE tenants (id int PRIMARY KEY); ALTER TABLE spans ADD of_tenant int REFERENCES tenants"
    ),
    "wider texts": "ALTER TABLE trace_tags ALTER value TYPE text; ALTER TABLE spans ALTER type TYPE varchar(2000)",
    "a NOT NULL column in a table that we only read": "ALTER TABLE runs ADD tenant text NOT NULL",
    "another column's type": "ALTER TABLE trace_info ALTER client_request_id TYPE text",
    "less that must be": "ALTER TABLE spans ALTER content DROP NOT NULL",
    "another revision": "SELECT 1",
}
FATAL = {
    "a NOT NULL column": ("ALTER TABLE spans ADD tenant text NOT NULL", "spans.tenant is NOT NULL"),
    "a NOT NULL column of traces": ("ALTER TABLE trace_info ADD tenant int NOT NULL", "trace_info.tenant is NOT NULL"),
    "a NOT NULL column of a domain": (
        "CREATE DOMAIN tenant AS text NOT NULL; ALTER TABLE trace_tags ADD tenant tenant",
        "trace_tags.tenant is NOT NULL",
    ),
    "a column that is gone": ("ALTER TABLE spans DROP name", "spans.name is missing"),
    "another name": ("ALTER TABLE trace_tags RENAME value TO text", "trace_tags.value is missing"),
    "another type": ("ALTER TABLE trace_info ALTER timestamp_ms TYPE numeric", "trace_info.timestamp_ms is of type numeric"),
    "a type of more bits": ("ALTER TABLE spans ALTER experiment_id TYPE bigint", "spans.experiment_id is of type bigint"),
    "a shorter text": ("ALTER TABLE trace_tags ALTER value TYPE varchar(100)", "trace_tags.value takes 100 characters"),
    "a column that must be": ("ALTER TABLE spans ALTER parent_span_id SET NOT NULL", "spans.parent_span_id is NOT NULL"),
    "a column that is generated": (
        "ALTER TABLE spans DROP model_name; ALTER TABLE spans ADD model_name varchar(500) GENERATED ALWAYS AS ('x') STORED",
        "spans.model_name is generated",
    ),
    "a column that counts itself": (
        "ALTER TABLE trace_info DROP db_payload_generation;"
        " ALTER TABLE trace_info ADD db_payload_generation int GENERATED ALWAYS AS IDENTITY",
        "trace_info.db_payload_generation is generated",
    ),
    "a primary key that is gone": ("ALTER TABLE spans DROP CONSTRAINT spans_pk CASCADE", "spans has no primary or unique key"),
    "a primary key of other columns": (
        "ALTER TABLE trace_tags DROP CONSTRAINT trace_tag_pk; ALTER TABLE trace_tags ADD PRIMARY KEY (request_id)",
        "trace_tags has no primary or unique key (key, request_id)",
    ),
    "a primary key that is checked late": (
        "ALTER TABLE trace_tags DROP CONSTRAINT trace_tag_pk;"
        " ALTER TABLE trace_tags ADD PRIMARY KEY (key, request_id) DEFERRABLE INITIALLY DEFERRED",
        "trace_tags has no primary or unique key",
    ),
    "a key of some rows": (
        "ALTER TABLE trace_tags DROP CONSTRAINT trace_tag_pk;"
        " CREATE UNIQUE INDEX ON trace_tags (key, request_id) WHERE key <> ''",
        "trace_tags has no primary or unique key",
    ),
    "a foreign key that is gone": (
        "ALTER TABLE spans DROP CONSTRAINT fk_spans_trace_id",
        "spans has no foreign key (trace_id) to trace_info",
    ),
    "a unique key": ("CREATE UNIQUE INDEX once ON spans (experiment_id, name)", "once (experiment_id, name)"),
    "a unique key of some rows": (
        "CREATE UNIQUE INDEX once ON trace_info (trace_name) WHERE status = 'OK'",
        "once (trace_name)",
    ),
    "a unique expression": ("CREATE UNIQUE INDEX once ON spans (lower(name))", "once of an expression"),
    "a constraint that excludes": ("ALTER TABLE spans ADD CONSTRAINT once EXCLUDE (name WITH =)", "once (name)"),
    "a foreign key": (
        "CREATE TABLE kinds (name varchar(500) PRIMARY KEY); ALTER TABLE spans ADD CONSTRAINT of_kind"
        " FOREIGN KEY (type) REFERENCES kinds",
        "of_kind (type) to kinds",
    ),
    "a view": ("ALTER TABLE trace_tags RENAME TO tags_2; CREATE VIEW trace_tags AS TABLE tags_2", "trace_tags is no table"),
    "a table that is gone": ("DROP TABLE entity_associations", "entity_associations is missing"),
    "another shape's column": ("ALTER TABLE spans ADD dimension_attributes json", "is there"),
}


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def delivery(*names: str) -> Delivery:
    destination = pb.Destination(experiment_id="0", routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(otlp.request(*(otlp.span(name) for name in names)), (destination,), "", otlp.START, "")


class _Undo(Exception):
    """Ends a transaction."""


@pytest.fixture(scope="module")
def shared(shared_url: str) -> Iterator[Database]:
    """A database whose tables stay as they are."""
    database = Database(shared_url)
    with database.begin() as connection:
        migrate(connection)
    yield database
    database.close()


@contextmanager
def changed(database: Database, change: str) -> Iterator[Connection]:
    """A transaction in which the tables are changed so, and nobody else sees it."""
    with suppress(_Undo), database.begin() as connection:
        connection.exec_driver_sql(change.replace("%", "%%"))
        yield connection
        raise _Undo


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_does_not_disturb_fits_whatever_the_revision(shared: Database, change: str) -> None:
    with changed(shared, f"{change}; {FUTURE}") as connection:
        schema = verify_mlflow_schema(connection)
    assert schema.shape is not None
    assert schema.revision == "ffffffffffff"


def test_with_all_of_that_at_once_the_bulk_writer_writes(database_url: str, database: Database) -> None:
    execute(database_url, *HARMLESS.values(), FUTURE)
    writer = open_writer(database)
    assert isinstance(writer, BulkWriter)
    for _ in range(2):
        writer.write(writer.translate([delivery("one"), delivery("two")]))
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 4


@pytest.mark.parametrize(("change", "said"), FATAL.values(), ids=FATAL)
def test_what_would_break_a_write_is_refused_by_its_name(shared: Database, change: str, said: str) -> None:
    with changed(shared, f"{change}; {FUTURE}") as connection, pytest.raises(StartError) as error:
        verify_mlflow_schema(connection)
    assert said in str(error.value)
    assert "ffffffffffff" in str(error.value)


def test_what_mlflow_s_own_store_can_write_goes_through_it_and_says_why(database_url: str, database: Database) -> None:
    """Another type: MLflow's store lets Postgres convert."""
    execute(database_url, "ALTER TABLE trace_info ALTER timestamp_ms TYPE numeric")
    with structlog.testing.capture_logs() as events:
        assert isinstance(open_writer(database), MlflowStoreWriter)
    (warning,) = [event for event in events if event["log_level"] == "warning"]
    assert "trace_info.timestamp_ms is of type numeric" in warning["reason"]


@pytest.mark.parametrize("change", ["a NOT NULL column", "a foreign key that is gone", "a primary key that is gone"])
def test_what_mlflow_s_own_store_cannot_write_either_is_refused(shared: Database, change: str) -> None:
    statement, said = FATAL[change]
    with changed(shared, statement) as connection, pytest.raises(StartError, match="by hand") as error:
        verify_mlflow_schema(connection)
    assert said in str(error.value)


def test_checks_and_triggers_of_others_are_told_and_do_not_disturb(database_url: str, database: Database) -> None:
    execute(
        database_url,
        "ALTER TABLE spans ADD CONSTRAINT polite CHECK (name <> 'damn')",
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER audit AFTER INSERT ON spans FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE TRIGGER off AFTER INSERT ON spans FOR EACH ROW EXECUTE FUNCTION audit()",
        "ALTER TABLE spans DISABLE TRIGGER off",
    )
    tables = Tables()
    with structlog.testing.capture_logs() as events:
        assert isinstance(open_writer(database, tables=tables), BulkWriter)
    assert "check polite on spans, trigger audit on spans" in str(events)
    assert tables.describe()["added"] == ["check polite on spans", "trigger audit on spans"]


def test_the_queue_of_daily_sums_is_needed_only_where_mlflow_keeps_them(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, fits in (("false", True), ("true", False)):
        monkeypatch.setenv("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED", value)
        with changed(shared, "DROP TABLE sql_trace_rollup_rebuild_queue") as connection:
            schema = look(connection)
        assert schema is not None
        assert (schema.shape is not None) == fits


UNDERNEATH = ("a NOT NULL column", "a column that is gone", "a shorter text", "a primary key that is gone", "a unique key")


def exporter_with(database: Database, tables: Tables) -> Exporter:
    experiments = Experiments(database, create=False, cache_seconds=60)
    return Exporter(database, experiments, {TRACES: lambda opened: open_writer(opened, tables=tables)}, tables=tables)


@pytest.mark.parametrize("change", UNDERNEATH)
def test_when_the_tables_change_underneath_writing_waits_and_nothing_is_a_dead_letter(
    database_url: str, database: Database, change: str
) -> None:
    statement, said = FATAL[change]
    tables = Tables()
    exporter = exporter_with(database, tables)
    exporter.open()
    execute(database_url, statement, FUTURE)
    batch = Export(exporter, [delivery("x" * 9000, "x" * 9000).to_envelope()])
    batch.translate()
    with pytest.raises(TablesChanged):
        batch.run()
    assert tables.waits_for
    with pytest.raises(StartError) as error:
        batch.run()
    assert said in str(error.value)
    assert said in tables.waits_for
    assert TABLES_FIT._value.get() == 0
    assert rows(database_url, "SELECT 1 FROM trace_info") == []


@pytest.mark.parametrize("change", ["SELECT 1", "ALTER TABLE spans ADD tenant int NOT NULL DEFAULT 1"])
def test_when_the_revision_changes_underneath_writing_looks_again_and_goes_on(
    database_url: str, database: Database, change: str
) -> None:
    tables = Tables()
    exporter = exporter_with(database, tables)
    exporter.open()
    execute(database_url, change, FUTURE)
    batch = Export(exporter, [delivery("one", "two").to_envelope()])
    batch.translate()
    with pytest.raises(TablesChanged, match="ffffffffffff"):
        batch.run()
    assert tables.waits_for
    assert rows(database_url, "SELECT 1 FROM trace_info") == []
    assert batch.run() == []
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 2
    assert tables.waits_for == ""
    assert TABLES_FIT._value.get() == 1


def test_a_row_that_is_at_fault_is_a_dead_letter_while_the_tables_are_as_they_were(
    database_url: str, database: Database
) -> None:
    """A key that refuses one row is not a change of the tables, where it was there from the start."""
    exporter = exporter_with(database, Tables())
    execute(database_url, "ALTER TABLE spans ADD CONSTRAINT polite CHECK (name <> 'damn')")
    letters = Export(exporter, [delivery("one", "damn").to_envelope()]).run()
    assert [letter.reason for letter in letters if "23514" in letter.reason]
    assert [row["name"] for row in rows(database_url, "SELECT name FROM spans")] == ["one"]
