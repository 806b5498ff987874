"""Each fault for a short while, under load: nothing that was acknowledged is lost, doubled or changed, nobody is refused for
Postgres' sake, and writing goes on by itself. `make chaos` does the same for long, in any order."""

from collections.abc import Iterator
from random import Random

import pytest
from conftest import Launcher, database_directory

from faults.catalogue import DISK_FULL, FAULTS, KILLS, Fault, cannot_mount
from faults.cluster import Cluster
from faults.proxy import Proxy
from faults.stage import Stage
from faults.table import Row


@pytest.fixture(scope="module")
def stage(run_s_cluster: Cluster) -> Iterator[Stage]:
    """One Headrace of two workers for all faults."""
    with database_directory() as directory, Proxy(run_s_cluster.port, Random(1)) as proxy:
        launcher = Launcher(directory)
        stage = Stage(run_s_cluster, proxy, launcher, Random(1))
        stage.start(2)
        yield stage
        launcher.stop_all()


@pytest.mark.parametrize("fault", [*FAULTS, *KILLS], ids=lambda fault: fault.name)
def test_fault(stage: Stage, report: list[Row], fault: Fault) -> None:
    if fault.name == DISK_FULL and (reason := cannot_mount(stage.launcher.directory)):
        pytest.skip(reason)
    row = Row(fault.name)
    before = stage.retries()
    with stage.load(row, fault.hang_ups) as load:
        for _ in range(2 if fault.ours else 1):
            fault.once(stage)
            row.times += 1
        stage.writes()
    stage.drained()
    if fault.bites:
        assert stage.retries() > before
    tally = row.verify(stage.cluster.url)
    report.append(row)
    assert tally.acknowledged > 50
    assert (tally.lost, tally.doubled) == (0, 0)
    if not fault.ours:
        assert load.ledger.refusals == {}
