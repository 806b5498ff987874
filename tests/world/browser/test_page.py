"""examples/browser in a real browser: a page of one origin that sends its spans to a Headrace of another."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
from conftest import Launcher, Running, database_directory, rows, wait_until
from fraud_scorer import answers
from mlflow import MlflowClient
from mlflow.entities import SpanStatusCode, Trace, TraceState
from playwright.sync_api import Page, expect

from headrace.receiver.auth import Keys, new_key
from world.browser.test_ui import page, pytestmark

__all__ = ["page", "pytestmark"]  # pytest finds them here: no chromium, no test

EXAMPLE = Path(__file__).parents[3] / "examples" / "browser"
OLD_PAGE = Path(__file__).parent / "beacon"


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serves files; yields the origin, which is not Headrace's: each request to that crosses origins."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def built(source: Path, directory: Path) -> Path:
    """Builds a page as a user does, in a copy; returns the folder that is to be served."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("node_modules", "page.js*"))
    for command in (["npm", "ci"], ["npm", "run", "build"]):
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory / "public"


@dataclass
class Web:
    """The origins of the page, and the Headrace that allows two of them."""

    up: Running
    shop: str
    """Allowed."""
    old: str
    """Allowed; its page is of the web SDK of 2024."""
    stranger: str
    """Not allowed; its page is the shop's."""

    def open(self, page: Page, origin: str, experiment: str, **more: str) -> None:
        """Opens the page, with Headrace's endpoint."""
        parameters = {"endpoint": f"{self.up.url}/v1/traces", "experiment": experiment, **more}
        page.goto(f"{origin}/?{urlencode(parameters)}")

    def client(self) -> MlflowClient:
        """MLflow, once all is written that was answered."""
        wait_until(self.up.drained, 60, "the queue is not drained")
        return MlflowClient(self.up.ui_url)

    def traces(self, experiment: str) -> list[Trace]:
        """All traces of an experiment."""
        return list(self.client().search_traces(locations=[experiment]))


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    directory = tmp_path_factory.mktemp("web")
    with ExitStack() as stack:
        files = built(EXAMPLE, directory / "shop")
        shop, stranger, old = (stack.enter_context(served(f)) for f in (files, files, built(OLD_PAGE, directory / "old")))
        launcher = Launcher(stack.enter_context(database_directory()))
        stack.callback(launcher.stop_all)
        up = launcher("up", cors_origins=f"{shop}, {old}")
        wait_until(up.shows_panel, 90, "the MLflow UI")
        yield Web(up, shop, old, stranger)


@pytest.fixture
def experiment(web: Web, request: pytest.FixtureRequest) -> str:
    """A new experiment of the test's own."""
    made: str = MlflowClient(web.up.ui_url).create_experiment(request.node.name)
    return made


@pytest.mark.parametrize("folder", [EXAMPLE, OLD_PAGE], ids=["example", "old"])
def test_the_lock_names_no_host(folder: Path) -> None:
    assert "://" not in (folder / "package-lock.json").read_text()


def pay(page: Page, said: str) -> str:
    """Clicks, waits until the page says this of its spans, and returns the id of the trace."""
    page.get_by_role("button", name="Pay").click()
    expect(page.locator("#spans")).to_have_text(re.compile(said))
    return page.locator("#trace").inner_text()


def test_the_page_is_one_complete_trace(web: Web, page: Page, experiment: str) -> None:
    web.open(page, web.shop, experiment)
    trace_id = pay(page, "^sent$")
    trace = web.client().get_trace(trace_id)
    assert trace.info.experiment_id == experiment
    assert trace.info.state == TraceState.OK
    assert trace.info.tags["service.name"] == "checkout-page"

    spans = {span.name: span for span in trace.data.spans}
    root, load, check = (spans.pop(name) for name in ("click Pay", "GET /cart.json", "check the card"))
    assert spans == {}
    assert [span.parent_id for span in (root, load, check)] == [None, root.span_id, root.span_id]
    # JSON tells 1, 1.0 and true apart.
    assert json.dumps({key: value for key, value in root.attributes.items() if key.startswith("cart.")}, sort_keys=True) == (
        '{"cart.gift": false, "cart.items": 2, "cart.skus": ["mug", "tea"], "cart.total": 129.9}'
    )
    assert load.attributes["http.response.status_code"] == 200
    assert load.attributes["span.kind"] == "client"
    (asked,) = root.events
    assert (asked.name, asked.attributes) == ("ask for another card", {"attempt": 1, "reason": "card declined"})
    assert (check.status.status_code, check.status.description) == (SpanStatusCode.ERROR, "card declined")
    (exception,) = check.events
    assert exception.attributes["exception.message"] == "card declined"


def test_leaving_the_page_sends_what_was_not_sent_yet(web: Web, page: Page, experiment: str) -> None:
    web.open(page, web.shop, experiment)
    page.goto("about:blank")
    (trace,) = wait_until(lambda: web.traces(experiment), 20, "the span did not come")
    (span,) = trace.data.spans
    assert (span.name, span.attributes["url.path"]) == ("open page", "/")


def test_a_refusal_is_readable_for_the_page(web: Web, page: Page) -> None:
    web.open(page, web.shop, "4711")
    pay(page, "^not sent: .*400")
    read = """async ([url, headers]) => {
        const answer = await fetch(url, { method: "POST", headers, body: "{\\"resourceSpans\\": 7}" });
        return [answer.status, await answer.json()];
    }"""
    status, body = page.evaluate(read, [f"{web.up.url}/v1/traces", {"content-type": "application/json"}])
    assert (status, body["code"]) == (400, 3)
    assert "OTLP/JSON" in body["message"]


def test_a_page_of_another_origin_is_refused_by_the_browser(web: Web, page: Page, experiment: str) -> None:
    before = answers(web.up, "http/json")
    with page.expect_console_message(lambda message: "blocked by CORS policy" in message.text):
        web.open(page, web.stranger, experiment)
        pay(page, "^not sent: ")
    assert answers(web.up, "http/json") == before
    assert web.traces(experiment) == []


@pytest.mark.parametrize("headers", [{}, {"headers": ""}], ids=["sendBeacon", "XMLHttpRequest"])
def test_the_web_sdk_of_2024(web: Web, page: Page, experiment: str, headers: dict[str, str]) -> None:
    web.open(page, web.old, experiment, **headers)
    expect(page).to_have_title(re.compile("^tr-"))
    (trace,) = wait_until(lambda: web.traces(experiment), 10, "the page's span did not come")
    assert trace.info.trace_id == page.title()
    (span,) = trace.data.spans
    assert (span.name, span.attributes["visits"]) == ("open old page", 7)


BEACON = """([url, body, type]) => navigator.sendBeacon(url, new Blob([body], { type }))"""


@pytest.mark.parametrize(("origin", "taken"), [("shop", True), ("stranger", False)])
def test_a_beacon_of_plain_text_is_taken_from_allowed_origins_alone(
    web: Web, page: Page, experiment: str, origin: str, taken: bool
) -> None:
    """The browser asks nobody before it sends one: what any page may send, Headrace itself has to refuse."""
    span = {"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": "beacon", "startTimeUnixNano": "1"}
    resource = {"attributes": [{"key": "mlflow.experiment.id", "value": {"stringValue": experiment}}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]})
    before = sum(answers(web.up, "http/json").values())
    page.goto(getattr(web, origin))
    assert page.evaluate(BEACON, [f"{web.up.url}/v1/traces", body, "text/plain;charset=UTF-8"])
    wait_until(lambda: sum(answers(web.up, "http/json").values()) > before, 10, "the beacon did not come")
    assert len(web.traces(experiment)) == int(taken)


def test_a_page_with_an_api_key(web: Web, page: Page, headrace: Launcher, database_url: str, tmp_path: Path) -> None:
    """Headrace answers the browser's own question, which has no key, and the page's request, which has one."""
    key, secret = new_key("page")
    Keys(tmp_path / "keys.json").add(key)
    guarded = headrace("serve", database_url=database_url, api_keys=tmp_path / "keys.json", cors_origins=web.shop)
    for sent, said in (("headrace_0_0", "^not sent: .*401"), (secret, "^sent$")):
        page.goto(f"{web.shop}/?{urlencode({'endpoint': f'{guarded.url}/v1/traces', 'key': sent})}")
        pay(page, said)
    wait_until(guarded.drained)
    found = {row["name"] for row in rows(database_url, "SELECT name FROM spans")}
    assert {"click Pay", "GET /cart.json", "check the card"} <= found
