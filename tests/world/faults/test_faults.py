"""Each fault for a short while, under load: nothing that was acknowledged is lost, doubled or changed, nobody is refused for
Postgres' sake, and writing goes on by itself. `make chaos` does the same for long, in any order."""

from collections.abc import Callable, Iterator
from random import Random

import psycopg
import pytest
from conftest import Launcher, database_directory, wait_until
from faults.catalogue import DISK_FULL, FAULTS, KILLS, Fault, cannot_mount
from faults.cluster import Cluster
from faults.hostile import HOSTILE
from faults.load import Load, Tally, spans_of, verify
from faults.proxy import Proxy
from faults.stage import Stage
from faults.table import Row
from hostile.probe import warm

pytestmark = pytest.mark.slow(
    "errors parts otlp envelope queue store processor pipeline mlflow export receiver host tests/faults"
)


@pytest.fixture(scope="module")
def stage(run_s_cluster: Cluster) -> Iterator[Stage]:
    """One Headrace of two workers for all faults."""
    with database_directory() as directory, Proxy(run_s_cluster.port, Random(1)) as proxy:
        launcher = Launcher(directory)
        stage = Stage(run_s_cluster, proxy, launcher, Random(1))
        running = stage.start(2)
        for _ in range(20):  # over as many connections, so that each worker has imported MLflow before anything is measured
            warm(running, x_mlflow_experiment_id="0")
        yield stage
        launcher.stop_all()


@pytest.mark.parametrize("fault", [*FAULTS, *HOSTILE, *KILLS], ids=lambda fault: fault.name)
def test_fault(stage: Stage, show: Callable[[Row], None], fault: Fault) -> None:
    if fault.name == DISK_FULL and (reason := cannot_mount(stage.launcher.directory)):
        pytest.skip(reason)
    row, usage = Row(fault.name), stage.usage()
    before = stage.retries()
    with stage.load(row, fault.hang_ups) as load:
        while row.times < (2 if fault.ours else 1) or (fault.bites and row.times < 20 and stage.retries() == before):
            fault.once(stage)  # again, where it fell between two writes
            row.times += 1
        stage.writes()
    stage.drained()
    if fault.hostile:
        wait_until(lambda: not stage.usage().above(usage), 60, "memory and descriptors where they began")
    if fault.bites:
        assert stage.retries() > before
    tally = row.verify(stage.cluster.url)
    show(row)
    assert tally.acknowledged > 50
    assert (tally.lost, tally.doubled) == (0, 0)
    if not fault.may_refuse:
        assert load.ledger.refusals == {}


def test_the_verifier_finds_what_is_missing_changed_or_doubled(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    with Load(running, "verified", clients=2) as load:
        wait_until(lambda: load.ledger.requests > 10)
    wait_until(running.drained)
    assert verify(database_url, load.ledger) == Tally(load.ledger.requests * 4, load.ledger.requests * 4)
    missing, changed, doubled, _ = spans_of("verified", 0, 0)
    columns = "trace_id, span_id, name, start_time_unix_nano, end_time_unix_nano, content"
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE spans RENAME TO real")
        connection.execute(f"CREATE TABLE spans AS SELECT {columns} FROM real".encode())  # without a primary key
        connection.execute("DELETE FROM spans WHERE span_id = %s", [missing.span_id.hex()])
        connection.execute("UPDATE spans SET name = 'another' WHERE span_id = %s", [changed.span_id.hex()])
        connection.execute("INSERT INTO spans SELECT * FROM spans WHERE span_id = %s", [doubled.span_id.hex()])
    tally = verify(database_url, load.ledger)
    assert (tally.lost, tally.doubled) == (2, 1)
