"""Receivers, writers and brokers are killed at random: nothing that was acknowledged is lost, and nothing is there twice."""

import os
import time
from collections.abc import Iterator

import httpx
import pytest
from brokers import Cluster, cluster
from conftest import Launcher, report, rows, wait_until
from fleet import Fleet

import otlp

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", "1"))

pytestmark = [
    pytest.mark.timeout(300 + 30 * KILLS),
    pytest.mark.slow("errors parts envelope queue processor pipeline export host tests/fleet tests/brokers.py tests/faults"),
]


@pytest.fixture(scope="module")
def brokers() -> Iterator[Cluster]:
    with cluster(3) as made:
        yield made


@pytest.fixture
def fleet(brokers: Cluster, headrace: Launcher, database_url: str) -> Fleet:
    made = Fleet(brokers, headrace, database_url)
    made.start()
    return made


def test_nothing_is_lost_or_doubled(fleet: Fleet, request: pytest.FixtureRequest) -> None:
    began = time.monotonic()
    tally = fleet.run(KILLS, SEED)
    said = ", ".join(f"{what}: {count}" for what, count in sorted(fleet.happened.items()))
    report(request.config, "containers").append(f"fleet, {KILLS} kills in {time.monotonic() - began:.0f} s ({said}): {tally}")
    assert tally.acknowledged > 0
    assert (tally.lost, tally.doubled) == (0, 0), tally
    assert rows(fleet.database_url, "SELECT reason FROM headrace.dead_letter") == []


def test_two_brokers_away_are_said_and_cost_nothing(fleet: Fleet) -> None:
    """A receiver that may spill goes on to take requests, and forwards them."""
    receiver, spilling = fleet.receivers[0].running, fleet.add("receive", spill="disk").running
    for node in fleet.cluster.nodes[:2]:
        node.kill()
    answer = receiver.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert httpx.get(f"{receiver.url}/readyz", timeout=30).status_code == 503
    assert "Kafka" in receiver.ready()["reason"]
    kept = otlp.span()
    spilling.post(otlp.request(kept).SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
    assert spilling.ready()["status"] == "ready"
    fleet.bring_back(*fleet.cluster.nodes[:2])
    span = otlp.span()
    body = otlp.request(span).SerializeToString()
    wait_until(lambda: receiver.post(body, x_mlflow_experiment_id="0").status_code == 200, 60)
    query = "SELECT count(*) AS n FROM spans WHERE span_id = ANY(%s)"
    wait_until(lambda: rows(fleet.database_url, query, [span.span_id.hex(), kept.span_id.hex()])[0]["n"] == 2, 90)
