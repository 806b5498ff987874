"""What was acknowledged survives: SIGKILL of Headrace, and Postgres away."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from faults.cluster import Cluster
from faults.load import send, stored
from older import downgrade

import otlp
from headrace.local.mlflow_server import upgrade_mlflow_schema
from headrace.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.slow(
    "errors parts otlp envelope queue store processor pipeline mlflow export receiver host tests/faults"
)


def test_sigkill_between_the_answer_and_the_write_loses_nothing(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    with psycopg.connect(database_url) as blocker:
        # A lock that somebody holds keeps the writer from finishing, so that the kill falls between answer and write.
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        acknowledged = {send(running, otlp.span(f"n{n}")) for n in range(20)}
        running.kill()
        blocker.rollback()
    assert stored(database_url) == set()
    again = headrace(database_url=database_url)
    wait_until(again.drained)
    assert stored(database_url) == acknowledged


def test_sigkill_under_load_loses_nothing(headrace: Launcher, database_url: str) -> None:
    """Four clients send without pause; the receiver is killed at three moments of its life."""
    acknowledged: set[str] = set()
    for delay in (0.0, 0.3, 0.9):
        running = headrace(database_url=database_url)
        stop = threading.Event()
        before = len(acknowledged)

        def client(running: Running = running, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    acknowledged.add(send(running))
                except Exception:
                    return  # killed: not acknowledged

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(
            lambda: len(acknowledged) > before + 10  # noqa: B023 - called at once
        )
        time.sleep(delay)  # another moment of the worker's cycle; no event stands for it
        running.kill()
        stop.set()
        for thread in threads:
            thread.join()
    again = headrace(database_url=database_url)
    wait_until(again.drained, 60)
    assert len(acknowledged) > 30
    assert acknowledged <= stored(database_url)


def test_postgres_away_for_five_seconds_under_light_load(headrace: Launcher, cluster: Cluster) -> None:
    """No request is refused, nothing is lost, /readyz says what is going on; then a start without Postgres does, too."""
    running = headrace(database_url=cluster.url)
    acknowledged = {send(running, otlp.span("before"))}
    wait_until(running.drained)
    cluster.stop()
    away_until = time.monotonic() + 5
    with ThreadPoolExecutor(2) as clients:
        while time.monotonic() < away_until:
            acknowledged |= set(clients.map(lambda _: send(running, otlp.span("away")), range(4)))
            time.sleep(0.2)  # light load
    ready = running.ready()
    assert ready["status"] == "ready"
    assert ready["database"]["reachable"] is False
    assert ready["database"]["error"]
    assert ready["queue"]["requests"] == len(acknowledged) - 1
    assert ready["queue"]["oldest_seconds"] > 4
    running.kill()
    headrace.started.clear()
    restarted = headrace(database_url=cluster.url)  # cold caches, and still no Postgres
    acknowledged.add(send(restarted, otlp.span("restarted")))
    cluster.start()
    wait_until(restarted.drained, 60)
    assert acknowledged <= stored(cluster.url)
    assert restarted.ready()["database"]["reachable"] is True


def test_an_unknown_experiment_accepted_while_postgres_was_away_is_a_dead_letter(headrace: Launcher, cluster: Cluster) -> None:
    cluster.stop()
    running = headrace(database_url=cluster.url)
    lost, found = otlp.span(), otlp.span()
    running.post(otlp.request(lost).SerializeToString(), x_mlflow_experiment_id="4711").raise_for_status()
    running.post(otlp.request(found).SerializeToString(), x_mlflow_experiment_name="made later").raise_for_status()
    cluster.start()
    wait_until(running.drained, 60)
    assert {lost.span_id.hex(), found.span_id.hex()} & stored(cluster.url) == {found.span_id.hex()}
    (letter,) = rows(cluster.url, "SELECT span_id, reason FROM headrace.dead_letter")
    assert letter["span_id"] == lost.span_id.hex()


def test_a_schema_that_is_upgraded_while_headrace_waits(
    headrace: Launcher, database_url: str, postgres: EmbeddedPostgres
) -> None:
    """Postgres is away at the start, comes back with the schema of an older MLflow, and then `mlflow db upgrade` runs."""
    downgrade(database_url, "before 3.14")  # which nobody writes any more
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        allow = f"ALTER DATABASE {database_url.partition('?')[0].rpartition('/')[2]} ALLOW_CONNECTIONS"
        connection.execute(f"{allow} false".encode())
        running = headrace(database_url=database_url)
        acknowledged = {send(running) for _ in range(5)}
        connection.execute(f"{allow} true".encode())
    wait_until(
        lambda: "trace_info.db_payload_generation is missing" in running.log.read_text(),
        what="the log to say what is wrong now",
    )
    acknowledged |= {send(running) for _ in range(5)}
    assert stored(database_url) == set()
    upgrade_mlflow_schema(database_url)
    acknowledged.add(send(running))
    wait_until(running.drained)
    assert stored(database_url) == acknowledged


def test_a_clean_stop_drains_the_queue(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    acknowledged = {send(running, otlp.span()) for _ in range(50)}
    assert running.stop() == 0
    assert stored(database_url) == acknowledged


def test_a_full_queue_answers_503_and_recovers(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, queue_max_bytes=1024 * 1024)
    send(running, otlp.span())
    wait_until(running.drained)
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE trace_info IN ACCESS EXCLUSIVE MODE")
        big = otlp.request(otlp.span("x" * 600_000)).SerializeToString()
        assert running.post(big, x_mlflow_experiment_id="0").status_code == 200
        refused = running.post(big, x_mlflow_experiment_id="0")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "2"
        assert b"HEADRACE_QUEUE_MAX_BYTES" in refused.content
        blocker.rollback()
    wait_until(running.drained)
    assert send(running, otlp.span())


def test_a_stop_while_postgres_hangs_ends_and_loses_nothing(headrace: Launcher, cluster: Cluster) -> None:
    running = headrace(database_url=cluster.url, default_experiment="Default", shutdown_seconds=1)
    acknowledged = {send(running)}
    wait_until(running.drained)
    with cluster.frozen():
        acknowledged |= {send(running) for _ in range(5)}
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 30
    again = headrace(database_url=cluster.url)
    wait_until(again.drained)
    assert acknowledged <= stored(cluster.url)
