"""Spans, log records of these spans, and metrics of a run, which OpenTelemetry's SDK sends while Headrace and Postgres are
killed: nothing that was acknowledged is lost or doubled. `make chaos` does the same for long, with all faults."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import psycopg
import pytest
from conftest import Launcher, database_directory, wait_until
from faults.catalogue import FAULTS, KILLS
from faults.cluster import Cluster
from faults.proxy import Proxy
from faults.signals import SIGNALS, Programs, verify, verify_all
from faults.stage import Stage
from faults.table import Row

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow("errors parts otlp envelope queue store processor pipeline mlflow export receiver host tests/faults"),
]
CHOSEN = ("SIGKILL of Postgres", "SIGKILL of one backend of Postgres", "connections are cut at random bytes")


@contextmanager
def started(cluster: Cluster, rng: Random) -> Iterator[Stage]:
    """Two workers, and programs that send all three signals beside the other load."""
    with database_directory() as directory, Proxy(cluster.port, rng) as proxy:
        launcher = Launcher(directory)
        try:
            stage = Stage(cluster, proxy, launcher, rng, seconds=2, signals=True)
            stage.start(2)
            yield stage
        finally:
            launcher.stop_all()


def test_nothing_of_any_signal_is_lost(cluster: Cluster, show: Callable[[Row], None]) -> None:
    rng = Random(23)
    faults = rng.sample([*KILLS, *(fault for fault in FAULTS if fault.name in CHOSEN)], 4)
    row = Row("with log records and metrics")
    with started(cluster, rng) as stage:
        for fault in faults:
            with stage.load(row):
                fault.once(stage)
                stage.writes()
            row.times += 1
        stage.drained()
        tally, of_signals = row.verify(cluster.url), verify_all(cluster.url, stage.promised)
    show(row)
    assert (tally.lost, tally.doubled) == (0, 0)
    for each in of_signals:
        show(Row(f"all faults above: {each.fault}", each.times, each.tally))
        assert (each.tally.lost, each.tally.doubled) == (0, 0), each
        assert each.tally.acknowledged > 50, each


def test_the_verifier_finds_what_is_missing_or_doubled(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    with Programs(running, database_url, "verified") as programs:
        wait_until(lambda: all(len(each.values) > 2 for each in programs.promised), 120)
    wait_until(running.drained, 120)
    first = programs.promised[0]
    wait_until(lambda: all(tally.lost == 0 for tally in verify(database_url, first).values()), 120, "all in the tables")
    assert all(tally.doubled == 0 for tally in verify(database_url, first).values())
    text, span = next(iter(first.records.items()))
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE spans SET content = replace(content, %s, 'x') WHERE span_id = %s", [text, span])
        connection.execute("UPDATE spans SET name = 'x' WHERE span_id = %s", [next(iter(first.spans))])
        connection.execute("DELETE FROM metrics WHERE run_uuid = %s AND step = 1", [first.run])
        connection.execute("UPDATE metrics SET value = value + 1000 WHERE run_uuid = %s AND step = 0", [first.run])
    found = verify(database_url, first)
    assert [found[signal].lost for signal in SIGNALS] == [1, 1, 1]
    assert found["metrics"].doubled == 1
