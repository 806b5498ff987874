"""`headrace console`: Jaeger's storage API beside a running `headrace serve`."""

import json

import grpc
from conftest import Launcher, Running, wait_until
from jaeger import JaegerClient

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


def test_it_says_what_it_needs(headrace: Launcher) -> None:
    console = headrace("console", wait=False)
    assert console.process.wait(30) == 1
    assert "HEADRACE_DATABASE_URL is not set" in log(console)


def test_it_warns_if_anybody_may_read(headrace: Launcher, database_url: str) -> None:
    console = headrace("console", wait=False, database_url=database_url, jaeger_port=0, console_host="0.0.0.0")
    port_of(console)
    assert "ANYBODY WHO REACHES THIS ADDRESS MAY READ" in log(console)
    assert console.stop() == 0
