"""`headrace up` on a machine that others use, too: its files, and the MLflow UI, which asks nobody who he is."""

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from conftest import Launcher, Running

from headrace.cli.up import _warn_if_ui_is_open
from headrace.config import load
from headrace.local.mlflow_server import MlflowServer


def listens_on(port: int) -> set[str]:
    """The addresses on which somebody listens on this port."""
    listening = [each.laddr for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN and each.laddr]
    return {address.ip for address in listening if address.port == port}


def test_the_files_of_up_are_its_owner_s_alone(up: Running) -> None:
    """Root's Postgres is another user, whose group passes the data directory, and no more."""
    data = up.log.parent / "data"
    passed = stat.S_IXGRP if os.geteuid() == 0 else 0
    assert stat.S_IMODE(data.stat().st_mode) == 0o700 | passed
    found = [path for path in data.rglob("*") if "postgres-programs" not in str(path)]  # they are everybody's to read
    assert len(found) > 100
    for path in found:
        assert path.is_symlink() or not stat.S_IMODE(path.stat().st_mode) & 0o077, path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1"])
def test_the_ui_stays_on_loopback_whatever_the_receiver_does(host: str) -> None:
    config = load(host=host)
    assert config.ui_host == "127.0.0.1"
    server = MlflowServer(config)
    assert server._command[server._command.index("--host") + 1] == "127.0.0.1"
    assert urlsplit(server.url).hostname == "localhost"


def test_the_ui_of_up_listens_on_loopback_alone(up: Running) -> None:
    assert listens_on(urlsplit(up.ui_url).port or 0) == {"127.0.0.1"}
    assert listens_on(urlsplit(up.url).port or 0) == {"127.0.0.1"}


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)])
def test_a_ui_that_others_reach_is_warned_of_loudly(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    _warn_if_ui_is_open(load(ui_host=host))
    assert ("ANYBODY WHO REACHES THE MLFLOW UI" in caplog.text) is warned


def test_the_files_of_serve_are_its_owner_s_alone(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    data = Path(running.log.parent / "data")
    assert not [path for path in (data, *data.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_mlflow_s_server_is_one_process_and_answers_as_its_own_does(up: Running) -> None:
    """It guards its hosts, keeps artifacts, and has the part that is no Flask (tests/world/parity compares all releases)."""
    servers = [
        each for each in psutil.Process(up.process.pid).children(recursive=True) if "mlflow_process" in str(each.cmdline())
    ]
    assert len(servers) == 1
    artifact = f"{up.ui_url}/api/2.0/mlflow-artifacts/artifacts/0/{up.process.pid}/text.txt"
    assert httpx.put(artifact, content=b"kept").status_code == 200
    assert httpx.get(artifact).content == b"kept"
    assert httpx.get(f"{up.ui_url}/", headers={"host": "evil.example"}).status_code == 403
    assert httpx.post(f"{up.ui_url}/v1/traces", content=b"no protobuf").status_code == 422
