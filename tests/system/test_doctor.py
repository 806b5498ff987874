"""`headrace doctor`: on a Headrace that is well, and one test for each thing that can be wrong."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import psycopg
import pytest
from conftest import CloneDatabase, Launcher, Running, free_port, rows, wait_until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sources import trees

from headrace.config import load
from headrace.doctor import Finding, Probe, access, database, machine, running
from headrace.doctor.problems import PROBLEMS
from headrace.doctor.road import road
from headrace.queue.open import open_queue
from headrace.receiver.auth import Key, Keys
from headrace.store.database import Database
from headrace.store.dead_letters import DeadLetter, store
from system.test_cli import run


def problems(findings: Iterator[Finding]) -> list[str]:
    """The names of the problems that were found."""
    return [finding.problem.name for finding in findings if finding.problem is not None]


def ports(of: Running) -> dict[str, str]:
    named = {"HEADRACE_HTTP_PORT": of.url, "HEADRACE_GRPC_PORT": of.grpc_url, "HEADRACE_UI_PORT": of.ui_url}
    return {name: url.rpartition(":")[2] for name, url in named.items()}


def said(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, str]]:
    """Each check's last line of JSON."""
    return {line["check"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_a_headrace_that_is_well(up: Running) -> None:
    data = str(up.log.parent / "data")
    done = run("doctor", HEADRACE_DATA_DIR=data, **ports(up))
    assert done.returncode == 0, done.stdout
    assert "All is well." in done.stdout
    assert "→" not in done.stdout
    assert "A span was seen in MLflow" in done.stdout


def test_the_probe_is_deleted_again(up: Running) -> None:
    data = str(up.log.parent / "data")
    found = said(run("doctor", "--json", HEADRACE_DATA_DIR=data, **ports(up)))
    assert found["a span's road"]["state"] == "ok"
    body = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}], "max_results": 100}
    traces = httpx.post(f"{up.ui_url}/api/3.0/mlflow/traces/search", json=body).json().get("traces", [])
    assert not [trace for trace in traces if trace["tags"].get("mlflow.traceName") == "headrace doctor"]


def test_nothing_runs(tmp_path: Path) -> None:
    settings = {f"HEADRACE_{name}_PORT": str(free_port()) for name in ("HTTP", "GRPC", "UI")}
    done = run("doctor", "--json", HEADRACE_DATA_DIR=str(tmp_path), HEADRACE_HTPP_PORT="1", **settings)
    assert done.returncode == 1
    assert done.stderr == ""
    found = said(done)
    named = {check: line["problem"] for check, line in found.items() if "problem" in line}
    expected = {"settings": "unknown-setting", "OTLP/HTTP": "not-running", "Postgres": "no-database", "MLflow": "mlflow-away"}
    assert named == expected
    assert found["a span's road"]["state"] == found["OTLP/gRPC"]["state"] == "skipped"
    assert found["settings"]["said"] == "HEADRACE_HTPP_PORT is no setting. Is HEADRACE_HTTP_PORT meant?"
    assert all(line["mend"] for line in found.values() if "problem" in line)


def test_a_wrong_setting_is_named_and_its_value_is_not() -> None:
    done = run("doctor", HEADRACE_DATABASE_URL="mysql://user:hidden@host/db")
    assert done.returncode == 1
    assert "HEADRACE_DATABASE_URL" in done.stdout
    assert PROBLEMS["wrong-setting"].mend in done.stdout
    assert "hidden" not in done.stdout + done.stderr


def test_a_key_is_needed_and_mlflow_is_away(headrace: Launcher, database_url: str) -> None:
    keys = str(headrace.directory / "keys.json")
    key = run("keys", "add", "demo", HEADRACE_API_KEYS=keys).stdout.strip()
    one = headrace(database_url=database_url, api_keys=keys)
    settings = ports(one) | {
        "HEADRACE_API_KEYS": keys,
        "HEADRACE_DATABASE_URL": database_url,
        "HEADRACE_DATA_DIR": str(headrace.directory / "data"),
    }
    found = said(run("doctor", "--json", **settings))
    assert found["a span's road"]["problem"] == "probe-refused"
    assert "401" in found["a span's road"]["said"]
    found = said(run("doctor", "--json", "--api-key", key, **settings))
    assert found["a span's road"]["state"] == "skipped"
    assert found["MLflow"]["problem"] == "mlflow-away"
    assert {check for check, line in found.items() if line["state"] == "failure"} == {"MLflow"}
    wait_until(one.drained)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 1
    assert key not in json.dumps(found)


def test_a_mlflow_that_reads_another_database(headrace: Launcher, database_url: str, up: Running) -> None:
    one = headrace(database_url=database_url)
    config = load(http_port=one.url.rpartition(":")[2], ui_port=up.ui_url.rpartition(":")[2])
    patient = pytest.MonkeyPatch()
    with patient.context() as patch:
        patch.setattr("headrace.doctor.road._WAIT_SECONDS", 0.5)
        assert problems(road(config, Probe(), receiver_answers=True, mlflow_answers=True)) == ["probe-not-seen"]


@pytest.fixture
def talker() -> Iterator[Callable[[bytes], int]]:
    """Servers that answer each connection with the same bytes."""
    listeners = []

    def talk(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return int(listener.getsockname()[1])

    yield talk
    for listener in listeners:
        listener.close()


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (http("200 OK", "<html>"), "other-program"),
        (http("404 Not Found", "{}"), "other-program"),
        (http("200 OK", "[1]"), "other-program"),
        (b"220 mail.example ESMTP\r\n", "other-program"),
        (http("503 Service Unavailable", '{"status": "not ready", "reason": "The queue is full."}'), "not-ready"),
        (http("200 OK", '{"status": "ready", "waits_for": "MLflow"}'), "waits"),
    ],
)
def test_what_answers_on_the_port_of_http(talker: Callable[[bytes], int], answer: bytes, problem: str) -> None:
    assert problems(iter(running.receiver(load(http_port=talker(answer))).findings)) == [problem]


def test_what_answers_on_the_port_of_grpc(talker: Callable[[bytes], int]) -> None:
    found = [problems(running.grpc(load(grpc_port=port), True)) for port in (free_port(), talker(http("400 Bad Request", "")))]
    assert found == [["grpc-silent"], ["other-program"]]


def test_mlflow_s_port_answers_otherwise(talker: Callable[[bytes], int]) -> None:
    config = load(ui_port=talker(http("404 Not Found", "")))
    assert problems(iter(running.mlflow(config).findings)) == ["mlflow-away"]


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(machine.data_directory(load(data_dir=tmp_path / "data"))) == []
    assert not (tmp_path / "data").exists()
    assert problems(machine.data_directory(load(data_dir=tmp_path, min_free_bytes=1 << 60))) == ["disk-full"]
    monkeypatch.setattr(machine, "_SLOW_SECONDS", 0.0)
    assert problems(machine.data_directory(load(data_dir=tmp_path))) == ["disk-slow"]
    (tmp_path / "file").touch()
    assert problems(machine.data_directory(load(data_dir=tmp_path / "file" / "data"))) == ["data-directory"]


def test_open_files() -> None:
    assert problems(machine.open_files(load(max_connections=10_000_000))) == ["few-files"]
    assert problems(machine.open_files(load(max_connections=8))) == []


def test_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(data_dir=tmp_path)
    assert problems(machine.queue(config)) == []
    queue = open_queue(config, 0)
    queue.offer(b"a request").result(10)
    assert problems(machine.queue(config)) == []
    monkeypatch.setattr(machine, "_OLD_SECONDS", -1)
    assert problems(machine.queue(config)) == ["backlog"]
    queue.close()
    monkeypatch.setattr(machine, "_OLD_SECONDS", 60)
    next(tmp_path.rglob("queue.db")).write_bytes(b"no database" * 1000)
    assert problems(machine.queue(config)) == ["queue-damaged"]


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    config = load(api_keys=path)
    assert problems(access.keys(config)) == ["keys-unreadable"]
    now = datetime.now(timezone.utc)

    def key(name: str, days: int | None) -> Key:
        expires = None if days is None else now + timedelta(days)
        return Key(
            id=name, name=name, sha256="0" * 64, created=now, expires=expires, spans_per_second=None, bytes_per_second=None
        )

    keys = Keys(path)
    keys.add(key("old", -1))
    assert problems(access.keys(config)) == ["keys-expired"]
    keys.add(key("lasting", None))
    keys.add(key("ending", 13))
    assert problems(access.keys(config)) == ["key-expires", "key-expires"]
    keys.revoke("old")
    keys.revoke("ending")
    assert problems(access.keys(config)) == []


@pytest.mark.parametrize(
    ("settings", "found"),
    [({}, []), ({"host": "0.0.0.0"}, ["open-to-all"]), ({"host": "0.0.0.0", "trusted_network": True}, [])],
)
def test_without_keys(settings: dict[str, object], found: list[str]) -> None:
    assert problems(access.keys(load(**settings))) == found


@pytest.mark.parametrize(("begins", "ends", "found"), [(-9, 90, []), (-9, 13, ["tls-expires"]), (-9, -1, ["tls-expired"])])
def test_certificates(tmp_path: Path, begins: int, ends: int, found: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(now + timedelta(begins)).not_valid_after(now + timedelta(ends)).sign(key, hashes.SHA256())
    (tmp_path / "cert").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    kind = serialization.PrivateFormat.PKCS8
    (tmp_path / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
    config = load(tls_cert=tmp_path / "cert", tls_key=tmp_path / "key")
    assert problems(access.tls(config)) == found
    (tmp_path / "key").write_text("none")
    assert problems(access.tls(config)) == ["tls-unusable"]


def of_database(url: str) -> list[str]:
    return problems(database.database(load(database_url=url)))


def test_a_database_that_is_well_and_its_dead_letters(database_url: str) -> None:
    assert of_database(database_url) == []
    handle = Database(database_url)
    store(handle, [DeadLetter(0, b"unreadable", None, "a reason")])
    handle.close()
    assert of_database(database_url) == ["dead-letters"]


def test_a_database_without_tables(clone_database: CloneDatabase) -> None:
    with clone_database("template0") as url:
        assert of_database(url) == ["no-tables"]


def test_tables_of_another_shape(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE trace_info ADD COLUMN newer text NOT NULL")
    assert of_database(database_url) == ["other-tables"]


def test_a_database_that_is_away_or_refuses(database_url: str) -> None:
    assert of_database(f"postgresql://postgres@127.0.0.1:{free_port()}/mlflow") == ["database-away"]
    assert of_database(database_url.replace("postgres@", "nobody_at_all@")) == ["database-refuses"]


def test_clocks(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_MOST_SECONDS_APART", -1.0)
    assert of_database(database_url) == ["clock"]


def test_every_problem_is_found_somewhere_and_has_a_test() -> None:
    """(Both by name: in a call of `wrong`, and in this file.)"""
    code = "".join(path.read_text() for path in trees() if path.parent.name in ("doctor", "cli"))
    here = Path(__file__).read_text()
    assert [name for name in PROBLEMS if f'"{name}"' not in code.replace(f'Problem(\n        "{name}"', "")] == []
    assert [name for name in PROBLEMS if f'"{name}"' not in here] == []
