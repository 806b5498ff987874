"""What the tests of faults share."""

from collections.abc import Callable, Iterator

import pytest
from conftest import database_directory, report
from faults.cluster import Cluster
from faults.table import Row


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
        report(pytestconfig, "faults").append(row.plain())

    return note
