"""Shows the faults' table at the end of the run."""

from collections.abc import Iterator

import pytest
from conftest import database_directory

from faults.cluster import Cluster
from faults.table import Row, lines

ROWS = pytest.StashKey[list[Row]]()


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
def report(pytestconfig: pytest.Config) -> list[Row]:
    """Rows that are put here are shown at the end."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """pytest's hook."""
    if rows := config.stash.get(ROWS, []):
        terminalreporter.section("faults")
        for line in lines(rows):
            terminalreporter.write_line(line)
