"""From the disk queue to Kafka and back while clients send, by the steps of docs/scale.md: nothing is lost, nothing doubled."""

import os
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from brokers import Cluster
from conftest import Launcher, free_port, report, rows, wait_until
from faults.load import Load, verify

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow("errors parts envelope queue pipeline export host tests/brokers.py tests/faults"),
]

REQUESTS = 40
"""That are acknowledged between two steps, at the least."""


def status(url: str) -> str:
    """What `headrace queue status` says of Kafka."""
    environment = {**os.environ, "HEADRACE_QUEUE_URL": url}
    command = [sys.executable, "-m", "headrace", "queue", "status"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_to_kafka_and_back_while_clients_send(
    headrace: Launcher, broker: Cluster, database_url: str, request: pytest.FixtureRequest
) -> None:
    kafka = broker.url(broker.new_topic(3))
    place: dict[str, Any] = {"http_port": free_port(), "grpc_port": free_port(), "data_dir": headrace.directory / "data"}
    place |= {"database_url": database_url, "shutdown_seconds": 1}
    running = headrace("serve", **place)
    with Load(running, "moving", clients=2, pause=0.02) as load:
        with psycopg.connect(database_url) as held:
            held.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")  # so that something waits on disk
            more(load)
            assert running.stop() == 0
        running = headrace("receive", queue_url=kafka, **place)
        assert "requests on disk go to kafka" in running.log.read_text()
        more(load)
        writer = headrace("write", queue_url=kafka, database_url=database_url, data_dir=headrace.directory / "writer")
        wait_until(lambda: written(database_url) > 0, 90, "the writer writes")
        more(load)
        assert running.stop() == 0
        running = headrace("serve", **place)
        more(load)
    wait_until(lambda: " 0 records wait" in status(kafka), 120, "the writer has written all that Kafka has")
    assert writer.stop() == 0
    wait_until(running.drained, 120, "the disk queue is empty")
    tally = verify(database_url, load.ledger)
    report(request.config, "containers").append(f"from disk to Kafka and back: {tally}")
    assert tally.acknowledged > 0
    assert (tally.lost, tally.doubled) == (0, 0), tally
    assert rows(database_url, "SELECT reason FROM headrace.dead_letter") == []


def more(load: Load) -> None:
    """Waits until so many more requests are acknowledged."""
    before = load.ledger.requests
    wait_until(lambda: load.ledger.requests >= before + REQUESTS, 120, f"only {load.ledger.requests} requests: {load.ledger}")


def written(url: str) -> int:
    return int(rows(url, "SELECT count(*) AS n FROM spans")[0]["n"])
