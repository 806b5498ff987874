"""`make site`: the documentation as a site, with its links checked, looked at in a real browser."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from world.browser.test_ui import _ARGUMENTS, CHROMIUM

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH"),
    pytest.mark.slow("mkdocs.yml docs/pages.py requirements-site.lock docs/getting-started.md"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the site, built anew; MkDocs ends with a failure where a link leads nowhere."""
    directory = tmp_path_factory.mktemp("site")
    command = ["make", "site", f"PYTHON={sys.executable}", f"SITE_OPTIONS=--site-dir {directory}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with served(directory) as url:
        yield url


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The files of a directory on a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """It logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def page(site: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        expect.set_options(timeout=60_000)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_a_reader_goes_from_the_start_to_a_decision_and_nothing_comes_from_elsewhere(site: str, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(site)
    expect(page.get_by_role("heading", name="Headrace", exact=False).first).to_be_visible()
    page.get_by_role("link", name="Getting started").first.click()
    expect(page.get_by_role("heading", name="The first five minutes").first).to_be_visible()
    page.get_by_role("link", name="Recipes", exact=True).first.click()
    expect(page.get_by_role("heading", name="Evaluate traces that came over OTLP").first).to_be_visible()
    page.goto(f"{site}/security/#mlflows-ui-behind-a-login")
    page.get_by_role("link", name="Design").first.click()
    page.get_by_role("link", name="0007 The root span decides").first.click()
    expect(page.get_by_role("heading", name="0007 The root span decides").first).to_be_visible()
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {urlsplit(site).netloc}


def test_files_that_a_page_links_to_are_there(site: str, page: Page) -> None:
    for path in ("deploy/nginx/headrace.conf", "bench/load.py", "examples/collector/sampling.yaml", "LICENSE"):
        assert page.request.get(f"{site}/files/{path}").text() == (ROOT / path).read_text()


def test_it_finds_a_word(site: str, page: Page) -> None:
    page.goto(site)
    page.get_by_role("textbox", name="Search").fill("dead letters")
    expect(page.locator(".md-search-result__item").first).to_contain_text("ead letter")
