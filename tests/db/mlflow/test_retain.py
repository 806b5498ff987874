"""Retention: what is due goes with all that hangs on it, what is spared stays, and nobody waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from conftest import rows, wait_until
from older import downgrade
from pydantic import ValidationError
from sqlalchemy import create_engine, inspect

import otlp
from headrace.config import load, sqlalchemy_url
from headrace.config.retention import RetentionRule
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseRefuses, StartError
from headrace.export.retainer import Retainer, steps
from headrace.mlflow.rights import check_rights
from headrace.mlflow.schema import open_writer
from headrace.mlflow.write.retain import due, expire, look, shares
from headrace.store.database import Database

DAY_NS = 86_400_000_000_000


def trace_id(number: int) -> str:
    return f"tr-{number.to_bytes(16, 'big').hex()}"


def write(database: Database, *ages: float, experiment: str = "0") -> None:
    """One trace of two spans for each age in days, numbered from 0."""
    now = time.time_ns()
    spans = []
    for number, age in enumerate(ages):
        start = now - int(age * DAY_NS)
        trace = number.to_bytes(16, "big")
        spans += [
            otlp.span("root", trace, b"\1" * 8, b"", start, attrs={"session.id": "s"}),
            otlp.span("child", trace, b"\2" * 8, b"\1" * 8, start),
        ]
    writer = open_writer(database, note_unfinished=True)
    writer.write(writer.translate([Delivery(otlp.request(*spans), (pb.Destination(experiment_id=experiment),), "", 0, "")]))


def left(url: str) -> list[int]:
    found = rows(url, "SELECT request_id FROM trace_info ORDER BY request_id")
    return [int(row["request_id"].removeprefix("tr-"), 16) for row in found]


def run(database: Database, **rule: Any) -> tuple[int, dict[str, int]]:
    """Applies one rule to all experiments. Gives how many went, and how many stayed and why."""
    gone = 0
    stayed: dict[str, int] = {}
    for share in shares(database, [RetentionRule(**rule)]):
        for went, why, _ in steps(database, share):
            gone += went
            stayed |= {reason: stayed.get(reason, 0) + count for reason, count in why.items()}
    return gone, stayed


def tables_of(url: str) -> dict[str, list[Any]]:
    """Every row of MLflow's tables."""
    engine = create_engine(sqlalchemy_url(url))
    names = inspect(engine).get_table_names(schema="public")
    engine.dispose()
    return {
        name: sorted((tuple(row.values()) for row in rows(url, f"SELECT * FROM public.{name}")), key=repr) for name in names
    }


def test_by_age(database: Database, database_url: str) -> None:
    write(database, 40, 31, 29, 0)
    assert run(database, days=30) == (2, {})
    assert left(database_url) == [2, 3]
    assert run(database, days=30) == (0, {})


def test_by_number(database: Database, database_url: str) -> None:
    write(database, 5, 4, 3, 2, 1)
    assert run(database, keep=5) == (0, {})
    assert run(database, keep=2) == (3, {})
    assert left(database_url) == [3, 4]
    assert run(database, keep=0) == (2, {})


def test_what_is_over_either_limit_goes(database: Database, database_url: str) -> None:
    write(database, 50, 40, 20, 10, 1)
    assert run(database, days=30, keep=4) == (2, {})
    assert run(database, days=30, keep=2) == (1, {})
    assert left(database_url) == [3, 4]


@pytest.fixture
def marked(database: Database, database_url: str) -> str:
    """Six old traces: plain, tagged, assessed, linked, archived, plain."""
    write(database, *[40] * 6)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO trace_tags (key, value, request_id) VALUES ('headrace.keep', '', %s)", [trace_id(1)])
        connection.execute(
            "INSERT INTO assessments (assessment_id, trace_id, name, assessment_type, value, created_timestamp, "
            "last_updated_timestamp, source_type, valid) VALUES ('a', %s, 'good', 'feedback', 'true', 1, 1, 'HUMAN', true)",
            [trace_id(2)],
        )
        connection.execute(
            "INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id) "
            "VALUES ('l', 'trace', %s, 'run', 'r')",
            [trace_id(3)],
        )
        connection.execute(
            "INSERT INTO trace_tags (key, value, request_id) VALUES ('mlflow.trace.spansLocation', 'ARCHIVE_REPO', %s) "
            "ON CONFLICT (key, request_id) DO UPDATE SET value = excluded.value",
            [trace_id(4)],
        )
    return database_url


def test_what_is_spared_stays(database: Database, marked: str) -> None:
    assert run(database, days=30) == (2, {"tagged": 1, "assessed": 1, "linked": 1, "archived": 1})
    assert left(marked) == [1, 2, 3, 4]


def test_a_rule_may_spare_less_but_never_what_is_archived(database: Database, marked: str) -> None:
    assert run(database, days=30, spare=["linked"]) == (4, {"linked": 1, "archived": 1})
    assert left(marked) == [3, 4]
    assert run(database, days=30, spare=[]) == (1, {"archived": 1})
    assert rows(marked, "SELECT 1 FROM entity_associations") == []
    assert rows(marked, "SELECT 1 FROM assessments") == []


def test_a_look_counts_the_same_and_deletes_nothing(database: Database, marked: str) -> None:
    before = tables_of(marked)
    (share,) = shares(database, [RetentionRule(days=30)])
    until = due(database, share)
    assert until is not None
    first = look(database, share, until, limit=4)
    second = look(database, share, until, first.last, limit=4)
    assert (first.gone, second.gone, second.last) == (1, 1, None)
    assert first.stayed + second.stayed == {"tagged": 1, "assessed": 1, "linked": 1, "archived": 1}
    assert tables_of(marked) == before


@pytest.mark.parametrize("rollups", ["true", "false"])
def test_mlflow_leaves_the_same_rows(new_database: Callable[..., str], monkeypatch: pytest.MonkeyPatch, rollups: str) -> None:
    """The oracle: MLflow's own deletion of the same traces in a copy of the database."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    monkeypatch.setenv("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED", rollups)
    ours = new_database()
    database = Database(ours)
    write(database, 40, 39, 38, 1)
    database.close()
    theirs = new_database(ours)
    database = Database(ours)
    assert run(database, days=30) == (3, {})
    database.close()
    store = SqlAlchemyStore(sqlalchemy_url(theirs), "/tmp")  # type: ignore[no-untyped-call]
    assert store.delete_traces("0", trace_ids=[trace_id(number) for number in range(3)]) == 3
    store.engine.dispose()
    assert left(ours) == left(theirs) == [3]
    assert tables_of(ours) == tables_of(theirs)


@pytest.fixture
def older_database(clone_database: Callable[[], AbstractContextManager[str]]) -> Iterator[Database]:
    with clone_database() as url:
        downgrade(url, "3.16")
        database = Database(url)
        yield database
        database.close()


def test_nothing_of_a_trace_is_left_in_either_shape(database: Database, older_database: Database) -> None:
    for one in (database, older_database):
        write(one, 40)
        url = one.url.replace("postgresql+psycopg", "postgresql")
        assert run(one, days=30) == (1, {})
        ours = rows(url, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'headrace'::regnamespace")
        texts = [str(rows(url, f"SELECT * FROM headrace.{row['relname']}")) for row in ours if row["relname"] != "origin"]
        assert not [text for text in [*texts, str(tables_of(url))] if trace_id(0) in text]


def test_a_trace_that_is_being_written_stays_and_nobody_waits(database: Database, database_url: str) -> None:
    write(database, 40, 40)
    with psycopg.connect(database_url) as writer:
        writer.execute("SELECT 1 FROM trace_info WHERE request_id = %s FOR UPDATE", [trace_id(0)])
        assert run(database, days=30) == (1, {"in use": 1})
        writer.rollback()
    assert run(database, days=30) == (1, {})


def test_a_trace_that_went_may_come_again(database: Database, database_url: str) -> None:
    write(database, 40)
    before = tables_of(database_url)
    assert run(database, days=30) == (1, {})
    write(database, 40)
    after = tables_of(database_url)
    assert {name: len(found) for name, found in after.items()} == {name: len(found) for name, found in before.items()}


def test_the_first_rule_that_names_an_experiment_holds(database: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO experiments (name, lifecycle_stage, workspace) VALUES ('shop', 'active', 'default'), "
            "('shop', 'active', 'team')"
        )
    rules = [RetentionRule(experiment="shop", days=1), RetentionRule(experiment="0", days=2), RetentionRule(days=3)]
    found = {(share.experiment_id, share.rule.days) for share in shares(database, rules)}
    ids = rows(database_url, "SELECT experiment_id, workspace FROM experiments WHERE name = 'shop'")
    by_workspace = {row["workspace"]: row["experiment_id"] for row in ids}
    assert found == {(0, 2), (by_workspace["default"], 1), (by_workspace["team"], 3)}
    assert shares(database, rules[:1])[0].name == "shop"
    assert len(shares(database, rules[:1])) == 1


def test_many_go_a_few_at_a_time(database: Database, database_url: str) -> None:
    write(database, *[40 + number / 10_000 for number in range(450)])
    (share,) = shares(database, [RetentionRule(days=30)])
    assert [gone for gone, _, _ in steps(database, share)] == [200, 200, 50]
    assert left(database_url) == []
    until = due(database, share)
    assert until is not None
    assert expire(database, share, until).gone == 0


def test_the_thread_deletes_and_ends(database: Database, database_url: str) -> None:
    write(database, 40, 1)
    retainer = Retainer(database, [RetentionRule(days=30)], first_seconds=0.01)
    retainer.start()
    wait_until(lambda: left(database_url) == [1])
    retainer.stop()


def test_missing_rights_are_named_at_the_start(database: Database, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'no_deletion'").fetchone():
            connection.execute("CREATE ROLE no_deletion LOGIN")
        for schema in ("public", "headrace"):
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO no_deletion".encode())
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO no_deletion".encode())
        connection.execute("REVOKE DELETE ON trace_info FROM no_deletion")
    limited = Database(database_url.replace("postgres@", "no_deletion@"))
    check_rights(limited, True)
    with pytest.raises(DatabaseRefuses, match="GRANT DELETE ON trace_info"):
        check_rights(limited, True, expires=True)
    limited.close()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[", "is no JSON"),
        ('[{"experiment": "shop"}]', "must have `days` or `keep`"),
        ('[{"days": 0}]', "must be over 0"),
        ('[{"keep": -1}]', "must be at least 0"),
        ('[{"dayz": 3}]', "dayz"),
        ('[{"days": 3, "spare": ["starred"]}]', "spare"),
    ],
)
def test_a_wrong_rule_is_named(monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    monkeypatch.setenv("HEADRACE_RETENTION", value)
    with pytest.raises(StartError, match="HEADRACE_RETENTION") as error:
        load()
    assert said in str(error.value)


def test_a_rule_that_is_no_rule_is_an_error() -> None:
    with pytest.raises(ValidationError):
        RetentionRule()
