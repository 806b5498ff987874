"""The MLflow UI of the oldest and of the newest release shows a trace that Headrace has written into the release's tables."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import Launcher, launcher, wait_until
from parity.environments import python_of
from parity.releases import RELEASES, Release
from parity.servers import create, mlflow_server, seed, upgrade
from playwright.sync_api import Page, expect

import otlp
from headrace.local.postgres import EmbeddedPostgres
from world.browser.test_ui import CHROMIUM, page

__all__ = ["page"]
pytestmark = [
    pytest.mark.slow(
        "errors parts otlp envelope queue store processor pipeline mlflow export receiver host local tests/parity"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
    pytest.mark.timeout(1800),
]
_MS = 1_000_000
_ROOT = b"r" * 8
_CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 200,
    "gen_ai.usage.output_tokens": 30,
}


@dataclass
class Shown:
    """A release's UI, and the trace that it has to show."""

    url: str
    trace_id: str


@pytest.fixture(scope="module", params=[RELEASES[0], RELEASES[-1]], ids=lambda release: release.minor)
def shown(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[Shown]:
    release: Release = request.param
    python, url = python_of(release), create(postgres.url, f"shown_{release.minor.replace('.', '_')}")
    upgrade(python, url)
    seed(python, url)
    with launcher() as start:
        trace_id = send(start, url)
    with mlflow_server(python, url) as address:
        yield Shown(address, trace_id)


def send(start: Launcher, url: str) -> str:
    """Sends a trace of two spans; returns MLflow's id of it once it is written."""
    running, end = start(database_url=url), time.time_ns()
    attributes = {"http.request.method": "POST", "http.route": "/checkout", "http.response.status_code": 200}
    root = otlp.span("POST /checkout", span_id=_ROOT, start=end - 412 * _MS, end=end, attrs=attributes)
    chat = otlp.span("chat gpt-4o-mini", root.trace_id, b"c" * 8, _ROOT, end - 400 * _MS, end - 100 * _MS, _CHAT)
    running.post(otlp.request(root, chat).SerializeToString(), x_mlflow_experiment_id="0").raise_for_status()
    wait_until(running.drained, 120)
    return otlp.trace_id_of(root)


def test_the_list_shows_the_trace(page: Page, shown: Shown) -> None:
    page.goto(f"{shown.url}/#/experiments/0/traces")
    rows = page.get_by_role("row")
    row = rows.filter(has=page.get_by_label(f"Select trace {shown.trace_id}")).or_(rows.filter(has_text=shown.trace_id))
    for text in ("POST /checkout", "200", re.compile(r"412ms|0\.412s"), "230"):  # each release has its own way
        expect(row).to_contain_text(text)


def test_the_trace_shows_its_spans(page: Page, shown: Shown) -> None:
    page.goto("about:blank")
    page.goto(f"{shown.url}/#/experiments/0/traces?selectedEvaluationId={shown.trace_id}")
    dialog = page.get_by_role("dialog")
    for name in ("POST /checkout", "chat gpt-4o-mini"):
        expect(dialog.get_by_text(name).first).to_be_visible()
