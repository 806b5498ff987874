"""What a person sees: the demo's trace in the MLflow UI, in a real browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import Running
from mlflow import MlflowClient
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# MLflow opens its assistant and a hint over the page on the first visit; these say that both were seen.
_NO_HINTS = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.assistant.panelOpen_v1", "false");
localStorage.setItem("mlflow.detectIssues.guidanceShown_v1", "true");
"""
_SPANS = [  # in the order of the tree
    "POST /checkout",
    "score payment",
    "SELECT customer_features",
    "POST /v2/models/fraud-gbm/infer",
    "chat gpt-4o-mini",
    "POST /v1/charges",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a headless Chromium. For the module only: Playwright leaves an event loop running in this thread."""
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.add_init_script(_NO_HINTS)
        yield page
        browser.close()


@dataclass
class Demo:
    """What `headrace demo` sent, and the link that it printed."""

    experiment_id: str
    trace_id: str
    link: str


@pytest.fixture(scope="module")
def demo(up: Running) -> Demo:
    """`headrace demo`, run in an experiment of its own."""
    experiment_id = MlflowClient(up.ui_url).create_experiment("demo")
    ports = {"HEADRACE_HTTP_PORT": up.url.rpartition(":")[2], "HEADRACE_UI_PORT": up.ui_url.rpartition(":")[2]}
    command = [sys.executable, "-m", "headrace", "demo", "--scenario", "services", "--experiment-id", experiment_id]
    done = subprocess.run(command, env=os.environ | ports, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    link = done.stdout.strip()
    (trace,) = MlflowClient(up.ui_url).search_traces(locations=[experiment_id])
    assert trace.info.trace_id in link, done.stderr
    return Demo(experiment_id, trace.info.trace_id, link)


def expect_span_tree(page: Page) -> None:
    """The trace is open, and shows each span once."""
    nodes = page.get_by_role("dialog").locator("[data-testid^=timeline-tree-node-]")
    expect(nodes).to_have_count(len(_SPANS))
    for node, name in zip(nodes.all(), _SPANS, strict=True):
        expect(node).to_contain_text(name)


def test_the_list_shows_the_trace_and_a_click_opens_its_spans(page: Page, up: Running, demo: Demo) -> None:
    page.goto(f"{up.ui_url}/#/experiments/{demo.experiment_id}/traces")
    row = page.get_by_role("row").filter(has=page.get_by_label(f"Select trace {demo.trace_id}"))
    for text in ('"order": 4711', '"status": "paid"', "1.9s", "OK", "230", "service.name: checkout"):
        expect(row).to_contain_text(text)
    row.get_by_text('"order": 4711').click()
    expect_span_tree(page)


def test_the_link_that_the_demo_prints_opens_the_trace(page: Page, demo: Demo) -> None:
    page.goto("about:blank")
    page.goto(demo.link)
    expect_span_tree(page)
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("chat gpt-4o-mini").first.click()
    for text in ("230 tokens", "Order 4711: 3 items", "Likely legitimate"):
        expect(dialog.get_by_text(text).first).to_be_visible()
