"""MLflow's server as `headrace up` runs it, in one interpreter, beside `mlflow server`, which takes two: all releases."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import free_port, wait_until
from parity.environments import python_of
from parity.releases import RELEASES, Release
from parity.servers import create, mlflow_server

from headrace.config import sqlalchemy_url
from headrace.local import mlflow_process
from headrace.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.slow("local tests/parity")
HOST = {"host": "evil.example"}
SCRIPT = {"origin": "http://evil.example", "access-control-request-method": "POST"}
REQUESTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/", {}),
    ("GET", "/health", HOST),
    ("GET", "/version", {}),
    ("GET", "/", HOST),
    ("GET", "/version", HOST),
    ("OPTIONS", "/api/2.0/mlflow/experiments/search", SCRIPT),
    ("POST", "/api/2.0/mlflow/runs/create", {"origin": "http://evil.example"}),
    ("POST", "/ajax-api/3.0/jobs/search", {"content-type": "application/json"}),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/some/text.txt", {}),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts/0/some/text.txt", {}),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts?path=0/some", {}),
    ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", {}),
    ("POST", "/v1/traces", {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": "0"}),
    ("GET", "/static-files/none.js", {}),
)
"""The UI, which hosts and origins may ask, background jobs, artifacts, the store, the part that is no Flask."""
CHANGES = ("creation_time", "last_update_time")
TOLD = ("content-type", "x-frame-options", "x-content-type-options", "access-control-allow-origin", "vary")


def told(address: str) -> list[object]:
    """What a server answers to REQUESTS, without what differs from one start to the next."""
    found: list[object] = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for method, path, headers in REQUESTS:
            answer = client.request(method, path, headers=headers, content=b"text" if method == "PUT" else b"")
            text = answer.text
            if "experiment_id=0" in path:
                kept = {key: value for key, value in answer.json()["experiment"].items() if key not in CHANGES}
                text = repr(sorted(kept.items(), key=str))
            found.append((method, path, answer.status_code, text, {key: answer.headers.get(key) for key in TOLD}))
    return found


@contextmanager
def in_one_interpreter(python: Path, url: str, directory: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The same on an empty database: it makes the tables first."""
    port = free_port()
    command = [*(str(python), mlflow_process.__file__, "--host", "127.0.0.1", "--port", str(port), "--workers", "1")]
    command += ["--artifacts-destination", str(directory)]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    kept |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=kept, stdin=pipe, stdout=pipe, cwd=directory, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            print("upgrade", sqlalchemy_url(url), file=process.stdin, flush=True)
            assert process.stdout.readline() == "\n"
            print("serve", sqlalchemy_url(url), file=process.stdin, flush=True)
            wait_until(lambda: process.poll() is not None or answers(port), 120)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()
    assert process.wait() in (0, 143)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.minor)
def test_it_answers_as_mlflow_server_does(release: Release, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    python, minor = python_of(release), release.minor.replace(".", "_")
    url = create(postgres.url, f"one_interpreter_{minor}")
    with in_one_interpreter(python, url, tmp_path) as (address, process):
        ours = told(address)
        assert process.children(recursive=True) == []
    with mlflow_server(python, url) as address:
        theirs = told(address)
    for mine, own in zip(ours, theirs, strict=True):
        assert mine == own
