"""deploy/nginx/headrace.conf, run: real exporters send through nginx, over HTTP and over gRPC, with TLS and keys."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from authority import Authority
from conftest import CloneDatabase, Launcher, Running, free_port, rows, wait_until
from fraud_scorer import PROTOCOLS, SPANS, answers, run
from system.receiver.test_tls import trust, trusting

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "nginx" / "headrace.conf"
_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

pytestmark = pytest.mark.skipif(_NGINX is None, reason="needs nginx")


@dataclass
class Proxied:
    """A Headrace behind nginx."""

    headrace: Running
    database_url: str
    authority: Authority
    http_url: str
    grpc_url: str


@pytest.fixture(scope="module")
def proxied(clone_database: CloneDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """The configuration as it is; only ports, paths and the name of the host are this test's."""
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder, "authority")
    pair = authority.issue("server")
    https, grpcs = free_port(), free_port()
    launcher = Launcher(folder)
    with clone_database() as database_url:
        headrace = launcher("serve", database_url=database_url, allowed_hosts="otel.example")
        text = CONFIGURATION.read_text().replace("server_name otel.example", "server_name localhost otel.example")
        for old, new in {
            r"listen 443 ": f"listen 127.0.0.1:{https} ",
            r"listen 4443 ": f"listen 127.0.0.1:{grpcs} ",
            r"127\.0\.0\.1:4318": headrace.url.removeprefix("http://"),
            r"127\.0\.0\.1:4317": headrace.grpc_url.removeprefix("http://"),
            r"/etc/nginx/tls/otel.example.crt": str(pair.cert),
            r"/etc/nginx/tls/otel.example.key": str(pair.key),
        }.items():
            text, replaced = re.subn(old, new, text)
            assert replaced, old
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        own = [f"{name}_temp_path {folder}/{name};" for name in names]
        outer = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
        whole = "\n".join([outer, "http {", "access_log off;", *own, text, "}"])
        (folder / "nginx.conf").write_text(whole)
        assert _NGINX is not None
        process = subprocess.Popen([_NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        proxied = Proxied(headrace, database_url, authority, f"https://localhost:{https}", f"https://localhost:{grpcs}")
        try:
            wait_until(lambda: _answers(proxied), 30, "nginx")
            yield proxied
        finally:
            process.terminate()
            process.wait(20)
            launcher.stop_all()


def _answers(proxied: Proxied) -> bool:
    try:
        return httpx.get(f"{proxied.http_url}/healthz", verify=trusting(proxied.authority)).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_exporter_sends_through_nginx(proxied: Proxied, protocol: str) -> None:
    through = replace(proxied.headrace, url=proxied.http_url, grpc_url=proxied.grpc_url)
    before = len(_names(proxied))
    assert run(through, protocol, "x-mlflow-experiment-id=0", **trust(proxied.authority)).stderr == ""
    wait_until(lambda: len(_names(proxied)) == before + len(SPANS))
    assert sum(answers(proxied.headrace, protocol).values()) == 1
    assert set(_names(proxied)) == set(SPANS)


def test_the_answer_to_a_body_that_is_too_large_is_headrace_s(proxied: Proxied) -> None:
    body = bytes(65 * 2**20)
    headers = {"content-type": "application/x-protobuf", "host": "otel.example"}
    answer = httpx.post(f"{proxied.http_url}/v1/traces", content=body, headers=headers, verify=trusting(proxied.authority))
    assert answer.status_code == 413
    assert b"HEADRACE_MAX_" in answer.content


def test_metrics_are_not_for_everybody(proxied: Proxied) -> None:
    assert httpx.get(f"{proxied.http_url}/metrics", verify=trusting(proxied.authority)).status_code == 403


def _names(proxied: Proxied) -> list[str]:
    return [row["name"] for row in rows(proxied.database_url, "SELECT name FROM spans")]


def test_nginx_accepts_the_file_of_the_secure_profile(tmp_path: Path) -> None:
    """tests/world/containers runs it, where there is an engine."""
    pair = Authority(tmp_path, "authority").issue("server")
    text = (CONFIGURATION.parents[1] / "secure" / "nginx.conf").read_text()
    for old, new in {
        "/tmp/": f"{tmp_path}/",
        "/run/tls/server.crt": str(pair.cert),
        "/run/tls/server.key": str(pair.key),
        "secure-mlflow:": "127.0.0.1:",  # a name that only the stack's network knows
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nginx.conf").write_text(text)
    assert _NGINX is not None
    command = [_NGINX, "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
