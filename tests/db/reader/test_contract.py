"""The Postgres reader keeps the contract, over what the bulk writer has written."""

from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from contracts.trace_reader import OTHER, RunOf, Sent, TraceReaderContract, shop
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


RUN = """
INSERT INTO runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id)
VALUES (%s, %s, 'FINISHED', %s, 'active', 0)
"""
METRIC = "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (%s, %s, 0, 0, %s, %s)"
TOTALS = "UPDATE trace_info SET total_tokens = %s, total_cost = %s WHERE request_id = %s"
LINK = "INSERT INTO trace_request_metadata (key, value, request_id) VALUES ('mlflow.sourceRun', %s, %s)"
ASSOCIATION = """
INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id, created_time)
VALUES (%s, 'trace', %s, 'run', %s, 0)
"""


def add_runs(url: str, runs: Sequence[RunOf]) -> None:
    """Runs as MLflow has them, each with a metric that is no number. Every second one is linked in both ways that there are."""
    with psycopg.connect(url) as connection:
        for number, (run, traces) in enumerate(runs):
            connection.execute(RUN, (run.run_id, run.name, run.start // 1_000_000))
            for key, value in {**run.metrics, "broken": 0.0}.items():
                connection.execute(METRIC, (key, value, key == "broken", run.run_id))
            for trace in traces:
                request_id = f"tr-{trace.trace_id}"
                connection.execute(TOTALS, (trace.tokens, trace.cost, request_id))
                connection.execute(ASSOCIATION, (f"tr-{number}", request_id, run.run_id))
                if number % 2:
                    connection.execute(LINK, (run.run_id, request_id))


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

    def reader_of(self, sent: Sequence[Sent], runs: Sequence[RunOf] = ()) -> TraceReader:
        if list(sent) == shop() and not runs:
            url, self.other = self._shop
        else:
            url = self._new()
            self.other = fill(url, sent)
            add_runs(url, runs)
        self._open.append(PostgresReader(url, load()))
        return self._open[-1]
