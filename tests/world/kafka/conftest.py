"""One real broker for the tests of this folder."""

from collections.abc import Iterator

import pytest
from brokers import Cluster, cluster


@pytest.fixture(scope="session")
def broker() -> Iterator[Cluster]:
    """A broker that all tests of a process share. Each makes topics of its own."""
    with cluster() as made:
        yield made
