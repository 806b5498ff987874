"""`headrace console`: web pages and Jaeger's storage API beside a running `headrace serve`."""

import json
import os
import signal
import time
from pathlib import Path

import grpc
import httpx
import psutil
from conftest import Launcher, Running, wait_until
from jaeger import JaegerClient

from headrace.local.demo import demo_requests
from headrace.receiver.auth import Keys, new_key
from otlp import request, span


def port_of(running: Running) -> int:
    """The port that a console says it has."""
    line = wait_until(lambda: next((line for line in log(running).splitlines() if "console ready" in line), ""), 60)
    return int(json.loads(line)["jaeger_port"])


def log(running: Running) -> str:
    return running.log.read_text()


def test_what_was_sent_is_shown_by_another_process(headrace: Launcher, database_url: str) -> None:
    receiver = headrace("serve", database_url=database_url)
    console = headrace("console", wait=False, database_url=database_url, jaeger_port=0)
    sent = span("buy", b"\1" * 16)
    assert receiver.post(request(sent).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{port_of(console)}") as channel:
        client = JaegerClient(channel)
        (message,) = wait_until(lambda: client.trace(b"\1" * 16))
        assert message.resource_spans[0].scope_spans[0].spans[0].name == "buy"
        assert client.found(attributes={"mlflow.experiment": "Default"}) == ["01"]
    assert console.stop() == 0


def test_its_pages_show_what_was_sent_to_another_process(headrace: Launcher, database_url: str) -> None:
    receiver = headrace("serve", database_url=database_url)
    console = headrace("console", wait=False, database_url=database_url, jaeger_port=0, receiver_url=receiver.url)
    port_of(console)
    assert "Nothing has come yet" in page(console, "/")
    mlflow_id, requests = demo_requests(time.time_ns())
    for each in requests:
        assert receiver.post(each.SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    assert receiver.post(b"nonsense").status_code == 400
    wait_until(receiver.drained)
    trace = page(console, f"/traces/{mlflow_id}")
    for text in ("chat gpt-4o-mini", "1.16 s", 'class="crit"', "fraud-scorer"):
        assert text in trace
    assert mlflow_id[3:] in page(console, "/traces?service=model-server&since=1h")
    assert "/traces?service=model-server" in page(console, "/map")
    wait_until(lambda: "malformed body" in page(console, "/"))
    wait_until(lambda: page(console, "/").count(">6<") == 2, what="the numbers of spans received, and written")
    assert "Default" in page(console, "/")
    with httpx.stream("GET", f"{console.console_url}/live", timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert next(line for line in stream.iter_lines() if line.startswith("data: ")).startswith('data: "')
        assert console.stop() == 0  # streams do not hold it up
    assert "Traceback" not in log(console)


def page(running: Running, path: str) -> str:
    """A page, which is there."""
    answer = httpx.get(f"{running.console_url}{path}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_it_asks_for_a_key_where_keys_are(headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    key, secret = new_key("team", ("4711",))
    Keys(tmp_path / "keys.json").add(key)
    console = headrace("console", wait=False, database_url=database_url, jaeger_port=0, api_keys=tmp_path / "keys.json")
    port_of(console)
    assert httpx.get(f"{console.console_url}/traces").status_code == 401
    answer = httpx.get(f"{console.console_url}/traces", auth=("anybody", secret))
    assert answer.status_code == 200
    assert "There is no trace yet" in answer.text
    Keys(tmp_path / "keys.json").revoke("team")
    wait_until(lambda: httpx.get(f"{console.console_url}/traces", auth=("anybody", secret)).status_code in (401, 429))
    assert secret not in log(console)
    assert console.stop() == 0


def test_up_brings_it_along_and_starts_it_again(up: Running) -> None:
    assert page(up, "/traces")  # the panel has said that it is there
    assert up.console_url.rpartition(":")[2] in up.log.read_text()  # in the panel
    (child,) = [each for each in psutil.Process(up.process.pid).children() if "console" in each.cmdline()]
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: "a server of `up` has ended: starting it again" in up.log.read_text())
    wait_until(lambda: "a server of `up` answers again" in up.log.read_text(), 60, "the console, once more")
    wait_until(lambda: "The road of a span" in page(up, "/"), what="numbers")
    assert up.ready()["status"] == "ready"


def test_it_says_what_it_needs(headrace: Launcher) -> None:
    console = headrace("console", wait=False)
    assert console.process.wait(30) == 1
    assert "HEADRACE_DATABASE_URL is not set" in log(console)


def test_it_warns_if_anybody_may_read(headrace: Launcher, database_url: str) -> None:
    console = headrace("console", wait=False, database_url=database_url, jaeger_port=0, console_host="0.0.0.0")
    port_of(console)
    assert "ANYBODY WHO REACHES THIS ADDRESS MAY READ" in log(console)
    assert console.stop() == 0
