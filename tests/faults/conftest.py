"""Shows the faults' table at the end of the run."""

from collections.abc import Callable, Iterator
from dataclasses import astuple

import pytest
from conftest import database_directory, report

from faults.cluster import Cluster
from faults.load import Tally
from faults.table import Row, lines


@pytest.fixture(scope="session")
def run_s_cluster() -> Iterator[Cluster]:
    """The Postgres that these tests break."""
    with database_directory() as directory:
        made = Cluster(directory / "pg", "fsync=off")  # SIGKILL cannot tell the difference
        yield made
        made.stop()


@pytest.fixture
def cluster(run_s_cluster: Cluster) -> Cluster:
    """The same, running whatever the test before has done to it."""
    if not run_s_cluster.answers():
        run_s_cluster.start()
    return run_s_cluster


@pytest.fixture
def show(pytestconfig: pytest.Config) -> Callable[[Row], None]:
    """Takes verified rows, which are shown at the end."""

    def note(row: Row) -> None:
        report(pytestconfig, "faults").append((row.fault, row.times, astuple(row.tally)))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """pytest's hook."""
    if found := report(config, "faults"):
        terminalreporter.section("faults")
        for line in lines([Row(fault, times, Tally(*tally)) for fault, times, tally in found]):
            terminalreporter.write_line(line)
