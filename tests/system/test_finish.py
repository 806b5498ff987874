"""A running Headrace finishes traces whose root does not come."""

import httpx
from conftest import Launcher, wait_until
from db.mlflow.test_finish import mark, root, top, trace

import otlp


def test_a_running_headrace_finishes_and_takes_it_back(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url, default_experiment="Default", finish_seconds=0.2)
    assert running.post(otlp.request(top()).SerializeToString()).status_code == 200
    wait_until(lambda: mark(database_url))
    assert trace(database_url)["status"] == "OK"
    assert "headrace_traces_finished_total 1.0" in running_metrics(running.url)
    assert running.post(otlp.request(root()).SerializeToString()).status_code == 200
    wait_until(lambda: trace(database_url)["trace_name"] == "checkout")
    assert mark(database_url) == []


def running_metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics").text
