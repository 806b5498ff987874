"""The Postgres reader keeps the contract, over what the bulk writer has written."""

from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from contracts.trace_reader import OTHER, Sent, TraceReaderContract, shop
from indexing import write

from headrace.config import load
from headrace.reader import TraceReader
from headrace.reader.postgres import PostgresReader
from headrace.store.database import Database

EXPERIMENT = """
INSERT INTO experiments (name, artifact_location, lifecycle_stage, workspace)
VALUES ('other', 'mlflow-artifacts:/o', 'active', 'default') RETURNING experiment_id
"""


def fill(url: str, sent: Sequence[Sent]) -> int:
    """Writes what was sent. Returns the id of the second experiment."""
    with psycopg.connect(url) as connection:
        row = connection.execute(EXPERIMENT).fetchone()
    assert row is not None
    other = int(row[0])
    database = Database(url)
    write(database, *((other if experiment == OTHER else experiment, request) for experiment, request in sent))
    database.close()
    return other


@pytest.fixture(scope="module")
def shop_database(shared_url: str) -> tuple[str, int]:
    """That of most tests, filled once; and the id of its second experiment."""
    return shared_url, fill(shared_url, shop())


class TestPostgresReader(TraceReaderContract):
    @pytest.fixture(autouse=True)
    def _databases(self, new_database: Callable[[], str], shop_database: tuple[str, int]) -> Iterator[None]:
        self._new, self._shop = new_database, shop_database
        self._open: list[PostgresReader] = []
        yield
        for reader in self._open:
            reader.close()

    def reader_of(self, sent: Sequence[Sent]) -> TraceReader:
        if list(sent) == shop():
            url, self.other = self._shop
        else:
            url = self._new()
            self.other = fill(url, sent)
        self._open.append(PostgresReader(url, load()))
        return self._open[-1]
