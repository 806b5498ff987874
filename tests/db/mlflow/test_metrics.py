"""Metrics of runs on a real Postgres: as MLflow's own `log_batch` leaves them, once however often they are sent, and only where
their sender may."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import metrics as build
import psycopg
import pytest
from conftest import rows
from mlflow.entities import Metric, RunStatus, ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

import otlp
from headrace.config import sqlalchemy_url
from headrace.envelope import Delivery
from headrace.envelope.limit import Limit
from headrace.errors import PermanentExportError
from headrace.mlflow.metrics.names import Naming
from headrace.mlflow.metrics.prune import prune_deltas
from headrace.mlflow.metrics.writer import MetricsWriter
from headrace.mlflow.schema import check
from headrace.rejected import RejectedRecord
from headrace.store.database import Database

NAMING, STEPS = Naming("{name}{attributes}"), ("step", "epoch")
_METRICS = "SELECT key, value, timestamp, step, is_nan FROM {} WHERE run_uuid = %s ORDER BY key, step, timestamp, value, is_nan"


@pytest.fixture(scope="module")
def url(shared_url: str) -> str:
    return shared_url


@pytest.fixture(scope="module")
def store(url: str) -> Iterator[SqlAlchemyStore]:
    made = SqlAlchemyStore(sqlalchemy_url(url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    yield made
    made._dispose_engine()  # type: ignore[no-untyped-call]


@pytest.fixture
def writer(url: str) -> Iterator[MetricsWriter]:
    database = Database(url)
    check(database)
    yield MetricsWriter(database, NAMING, STEPS, 50)
    database.close()


def new_run(store: SqlAlchemyStore, experiment: str = "0", name: str = "run") -> str:
    run = store.create_run(experiment, "somebody", 1, [], name)  # type: ignore[no-untyped-call]
    return str(run.info.run_id)


def stored(url: str, run: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The metrics and the latest metrics of a run."""
    return rows(url, _METRICS.format("metrics"), run), rows(url, _METRICS.format("latest_metrics"), run)


def write(writer: MetricsWriter, *deliveries: Delivery[Any]) -> None:
    writer.write(writer.translate(list(deliveries)))


def sums(url: str, run: str) -> list[tuple[int, float]]:
    found, latest = stored(url, run)
    newest = max(found, key=lambda row: (row["step"], row["timestamp"], row["value"]))
    assert latest == [newest]
    return [(row["timestamp"] - otlp.START // build.MS, row["value"]) for row in found]


FIRST = otlp.START // build.MS
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1.0, -1.5, 1e-300, 2**60)

Batch = list[tuple[str, float, int, int]]
"""Name, value, time in ms, step."""


def batches(chance: random.Random, steps: Sequence[int]) -> Iterator[Batch]:
    """Batches with repetitions within and across them."""
    seen: Batch = []
    for _ in range(12):
        batch = [
            (chance.choice("abc"), float(chance.choice(SPECIAL)), FIRST + chance.randrange(4), chance.choice(steps))
            for _ in range(chance.randrange(1, 12))
        ]
        batch += chance.sample(seen, min(len(seen), 3))
        seen += batch
        yield batch


def log_batch(store: SqlAlchemyStore, run: str, batch: Batch) -> None:
    store.log_batch(run, [Metric(*each) for each in batch], [], [])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("seed", range(4))
def test_the_tables_are_as_log_batch_leaves_them(url: str, store: SqlAlchemyStore, writer: MetricsWriter, seed: int) -> None:
    """Oracle: MLflow's own store, given the same values in the same batches."""
    ours, theirs = new_run(store), new_run(store)
    for batch in batches(random.Random(seed), [0]):
        log_batch(store, theirs, batch)
        points = [build.gauge(name, value, at=at * build.MS) for name, value, at, _ in batch]
        write(writer, build.delivery(build.request(*points), ours))
    assert stored(url, ours) == stored(url, theirs)
    assert stored(url, ours)[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_value_of_a_step_is_kept_once_with_its_earliest_time(
    url: str, store: SqlAlchemyStore, writer: MetricsWriter, seed: int
) -> None:
    """An SDK exports a gauge with the attributes of past steps again and again. Oracle: MLflow's own store, given each value of
    a step once."""
    ours, theirs = new_run(store), new_run(store)
    once: dict[tuple[str, int, str], tuple[str, float, int, int]] = {}
    for batch in batches(random.Random(seed), [-1, 0, 1, 2]):
        for each in batch:
            known = once.setdefault((each[0], each[3], str(each[1] + 0.0)), each)
            if each[2] < known[2]:
                once[each[0], each[3], str(each[1] + 0.0)] = each
        points = [build.gauge(name, value, at=at * build.MS, step=step) for name, value, at, step in batch]
        write(writer, build.delivery(build.request(*points), ours))
    log_batch(store, theirs, list(once.values()))
    assert stored(url, ours)[0] == stored(url, theirs)[0]
    assert stored(url, ours)[1] == stored(url, theirs)[1]


def test_mlflow_reads_what_was_written(store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    run = new_run(store)
    message = build.request(*(build.gauge("loss", 1 / epoch, epoch=epoch, split="train") for epoch in (1, 2, 4)))
    write(writer, build.delivery(message, run))
    history = store.get_metric_history(run, "loss.split:train")  # type: ignore[no-untyped-call]
    assert sorted((each.step, each.value) for each in history) == [(1, 1.0), (2, 0.5), (4, 0.25)]
    found = store.search_runs(["0"], "metrics.`loss.split:train` < 0.3", ViewType.ACTIVE_ONLY)  # type: ignore[no-untyped-call]
    assert [each.info.run_id for each in found] == [run]


def test_what_comes_again_changes_nothing(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    run = new_run(store)
    message = build.request(
        build.gauge("nan", math.nan, 1.0),
        build.histogram("h", [1, 2], [1], sum=3, min=0, max=2),
        build.total("delta", build.number(2), build.number(3, otlp.START + build.MS), temporality=build.DELTA),
    )
    write(writer, build.delivery(message, run))
    once = stored(url, run)
    for _ in range(3):
        write(writer, build.delivery(message, run), build.delivery(message, run))
    assert stored(url, run) == once


def delta(value: float, at: int, rank: int = 0) -> Any:
    """An interval of the sum `n` that ends so many milliseconds after the start."""
    point = build.number(value, otlp.START + at * build.MS, otlp.START + (at - 10) * build.MS)
    return build.request(build.total("n", point, temporality=build.DELTA), rank=rank)


def test_sums_of_intervals_become_running_sums(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    run = new_run(store)
    for number in range(4):
        write(writer, build.delivery(delta(number + 1, 10 * number), run))
    assert sums(url, run) == [(0, 1), (10, 3), (20, 6), (30, 10)]
    write(writer, build.delivery(delta(-2, 40), run))
    assert sums(url, run)[-1] == (40, 8)


@pytest.mark.parametrize("seed", range(5))
def test_running_sums_do_not_depend_on_the_order(url: str, store: SqlAlchemyStore, writer: MetricsWriter, seed: int) -> None:
    """Two senders whose intervals end alike, in any order and batches, some sent again."""
    chance = random.Random(seed)
    deltas = [(0.1 * number - 0.5, 10 * number, rank) for number in range(8) for rank in (0, 1)]
    in_order, shuffled = new_run(store), new_run(store)
    write(writer, *(build.delivery(delta(*each), in_order) for each in deltas))
    waiting = deltas + chance.sample(deltas, 5)
    chance.shuffle(waiting)
    while waiting:
        size = chance.randrange(1, 5)
        write(writer, *(build.delivery(delta(*each), shuffled) for each in waiting[:size]))
        waiting = waiting[size:]
    assert stored(url, shuffled) == stored(url, in_order)
    assert sums(url, shuffled)[-1][1] == pytest.approx(sum(value for value, _, _ in deltas))


def test_intervals_that_end_alike_are_all_counted(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    """Of two meters, of two epochs, and of attributes that look alike in a name."""
    run, starts = new_run(store), otlp.START - 10 * build.MS
    plain, one, two = (build.number(4, start=starts, **epoch) for epoch in ({}, {"epoch": 1}, {"epoch": 2}))
    message = build.request(build.total("n", plain, one, two, temporality=build.DELTA))
    other = message.resource_metrics[0].scope_metrics.add()
    other.scope.name = "another meter"
    other.metrics.append(build.total("n", plain, temporality=build.DELTA))
    tags = [build.number(1, start=starts, tag=tag) for tag in ("a=b", "a_b")]
    other.metrics.append(build.total("t", *tags, temporality=build.DELTA))
    for _ in range(2):  # and once, however often they come
        write(writer, build.delivery(message, run))
        assert {row["key"]: row["value"] for row in stored(url, run)[1]} == {"n": 16.0, "t.tag:a_b": 2.0}


def refused(writer: MetricsWriter, *deliveries: Delivery[Any]) -> Sequence[RejectedRecord]:
    with pytest.raises(PermanentExportError) as raised:
        write(writer, *deliveries)
    assert raised.value.rejected
    return [each for each in raised.value.rejected if isinstance(each, RejectedRecord)]


def test_an_unknown_or_deleted_run_takes_nothing(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    good, gone = new_run(store), new_run(store)
    store.delete_run(gone)  # type: ignore[no-untyped-call]
    message = build.request(build.gauge("a", 1.0, 2.0))
    for run, said in ((gone, "is deleted in MLflow"), ("f" * 32, "MLflow has no run"), ("nul\0", "MLflow has no run")):
        found = refused(writer, build.delivery(message, good), build.delivery(message, run))
        assert [(each.delivery, each.number) for each in found] == [(1, 0), (1, 1)]
        assert all(said in each.reason for each in found)
    assert stored(url, good) == stored(url, gone) == ([], [])


def test_a_finished_run_takes_metrics_as_in_mlflow(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    run = new_run(store)
    store.update_run_info(run, RunStatus.FINISHED, 5, None)  # type: ignore[no-untyped-call]
    write(writer, build.delivery(build.request(build.gauge("a", 1.0)), run))
    assert len(stored(url, run)[0]) == 1


def test_a_limited_sender_changes_no_run_of_others(store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    other = store.create_experiment("limited")  # type: ignore[no-untyped-call]
    mine, foreign = new_run(store, other), new_run(store)
    message = build.request(build.gauge("a", 1.0))
    for limit in (Limit.of([other]), Limit.of(["limited"])):
        write(writer, build.delivery(message, mine, limit))
        (found,) = refused(writer, build.delivery(message, mine, limit), build.delivery(message, foreign, limit))
        assert found.delivery == 1
        assert "The API key may change runs of these only" in found.reason
    write(writer, build.delivery(message, foreign))  # somebody else may


def test_a_run_is_made_by_its_name_as_mlflow_makes_it(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    message = build.request(build.gauge("a", 1.0))
    write(writer, build.delivery(message, name="by name"), build.delivery(message, name="by name"))
    write(writer, build.delivery(message, name="by name"))
    (ours,) = rows(url, "SELECT * FROM runs WHERE name = 'by name'")
    theirs = new_run(store, name="as mlflow")
    (oracle,) = rows(url, "SELECT * FROM runs WHERE run_uuid = %s", theirs)
    different = {key for key in ours if ours[key] != oracle[key]}
    assert different == {"run_uuid", "name", "artifact_uri", "user_id", "start_time"}
    assert ours["artifact_uri"] == oracle["artifact_uri"].replace(theirs, ours["run_uuid"])
    tags = "SELECT key, value FROM tags WHERE run_uuid = %s"
    assert rows(url, tags, ours["run_uuid"]) == [{"key": "mlflow.runName", "value": "by name"}]
    assert rows(url, tags, theirs) == [{"key": "mlflow.runName", "value": "as mlflow"}]
    run = store.get_run(ours["run_uuid"])  # type: ignore[no-untyped-call]
    assert (run.info.run_name, run.data.metrics) == ("by name", {"a": 1.0})


def test_a_run_of_that_name_that_is_there_is_used(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    old, run = new_run(store, name="there"), new_run(store, name="there")
    store.delete_run(old)  # type: ignore[no-untyped-call]
    write(writer, build.delivery(build.request(build.gauge("a", 1.0)), name="there"))
    assert len(stored(url, run)[0]) == 1
    assert stored(url, old) == ([], [])


def test_names_that_mlflow_s_table_cuts_alike_are_one_run(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    first = "x" * 250
    message = build.request(build.gauge("a", 1.0))
    write(writer, *(build.delivery(message, name=first + end) for end in ("", "a", "b")))
    assert len(rows(url, "SELECT 1 FROM runs WHERE name = %s", first)) == 1


def test_no_run_is_made_in_a_deleted_experiment(store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    gone = store.create_experiment("gone")  # type: ignore[no-untyped-call]
    store.delete_experiment(gone)  # type: ignore[no-untyped-call]
    message = build.request(build.gauge("a", 1.0))
    (found,) = refused(writer, build.delivery(message, name="x", experiment=int(gone)))
    assert "is deleted in MLflow" in found.reason


def test_a_run_has_only_so_many_names(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    run = new_run(store)
    many = build.request(*(build.gauge("n", 1.0, user=f"{number:03}") for number in range(60)))
    found = refused(writer, build.delivery(many, run))
    assert [each.number for each in found] == list(range(50, 60))
    assert all("HEADRACE_MAX_METRICS_PER_RUN" in each.reason for each in found)
    write(writer, build.delivery(build.request(*many.resource_metrics[0].scope_metrics[0].metrics[:50]), run))
    write(writer, build.delivery(build.request(build.gauge("n", 2.0, at=otlp.START + 5 * build.MS, user="001")), run))
    assert len(refused(writer, build.delivery(build.request(build.gauge("new", 1.0)), run))) == 1
    assert len(stored(url, run)[1]) == 50


def test_a_rehearsal_leaves_nothing(url: str, writer: MetricsWriter) -> None:
    before = rows(url, "SELECT count(*) FROM metrics")
    writer.rehearse(Delivery(otlp.request(otlp.span()), (), "", 0, ""), 0)
    assert rows(url, "SELECT count(*) FROM metrics") == before


def test_translation_is_told_when_it_is_too_much(writer: MetricsWriter) -> None:
    from headrace.mlflow.write import TooMuch

    message = build.delivery(build.request(build.gauge("a", *map(float, range(100)))), "r" * 32)
    with pytest.raises(TooMuch):
        writer.translate([message], 1000)
    writer.translate([message], 100_000)


def test_intervals_of_runs_that_are_gone_are_deleted(url: str, store: SqlAlchemyStore, writer: MetricsWriter) -> None:
    gone, there = new_run(store), new_run(store)
    for run in (gone, there):
        write(writer, build.delivery(delta(1, 0), run))
    store.delete_run(gone)  # type: ignore[no-untyped-call]
    store._hard_delete_run(gone)  # type: ignore[no-untyped-call]
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE headrace.metric_delta SET noted_on = current_date - 1")
    database = Database(url)
    assert not prune_deltas(database)
    database.close()
    left = {row["run_uuid"] for row in rows(url, "SELECT run_uuid FROM headrace.metric_delta")}
    assert there in left
    assert gone not in left
