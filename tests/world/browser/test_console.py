"""The console in a real browser: empty, small and large; light, dark and on a phone. axe-core looks for barriers."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, wait_until
from console import METRICS, READY, Console, large, served, settings, shop_trace, small, some_keys
from playwright.sync_api import Browser, Page, expect, sync_playwright
from readers import MemoryReader

from headrace.local.demo import demo_requests
from headrace.receiver.auth import new_key
from world.browser.test_ui import _ARGUMENTS, _NO_HINTS, CHROMIUM, pytestmark

__all__ = ["pytestmark"]

AXE = Path(__file__).parent / "axe"
PAGES = ("/", "/traces", "/compare", "/map", "/quality")
SLOW, USUAL = shop_trace(0, 0)[0], shop_trace(3, 0)[0]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("axe") / "axe"
    shutil.copytree(AXE, directory, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(["npm", "ci"], cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return (directory / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sites() -> "Iterator[dict[str, tuple[str, list[str]]]]":
    """An address, and its pages: of a console without anything, with a little, with a lot."""
    now = time.time_ns()
    (some, demo_id), (many, large_id) = small(now), large(now)
    more = [
        f"/compare?a={USUAL}&b={SLOW}",
        f"/compare?b={SLOW}",
        "/quality?experiment=1",
        "/traces?min=soon",
        "/traces/" + "0" * 32,
    ]
    with ExitStack() as stack:

        def site(reader: MemoryReader, hour: bool) -> str:
            return stack.enter_context(served(Console(reader, settings(), hour=hour)))

        yield {
            "empty": (site(MemoryReader([]), False), [*PAGES]),
            "small": (site(some, True), [*PAGES, f"/traces/{demo_id}", f"/traces/{SLOW}?span=0606060606060606", *more]),
            "large": (site(many, True), ["/", "/traces", f"/traces/{large_id}", "/map", "/quality?experiment=1"]),
        }


@pytest.fixture(scope="module")
def page_of(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages; what they complain of, and whom they ask, is in `said` and `asked`."""
    with ExitStack() as stack:

        def opened(**context: Any) -> Page:
            made = browser.new_context(**context)
            stack.callback(made.close)
            page = made.new_page()
            page.set_default_timeout(60_000)
            return page

        yield opened


@pytest.mark.timeout(400)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["empty", "small", pytest.param("large", marks=pytest.mark.slow("console analysis"))])
def test_no_barrier_no_other_host_nothing_cut_off(
    kind: str, look: str, sites: "dict[str, tuple[str, list[str]]]", page_of: Callable[..., Page], axe: str
) -> None:
    base, paths = sites[kind]
    page = page_of(**LOOKS[look])
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for path in paths:
        page.goto(base + path)
        found = page.evaluate(f"async () => {{ {axe}; return (await axe.run()).violations }}")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, (path, json.dumps([(each["id"], [n["html"][:200] for n in each["nodes"][:3]]) for each in serious]))
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= LOOKS[look]["viewport"]["width"], path
    assert asked
    assert {url for url in asked if not url.startswith(base)} == set()
    assert [text for text in said if "404" not in text and "400" not in text] == []


def test_all_of_it_works_without_javascript(sites: "dict[str, tuple[str, list[str]]]", page_of: Callable[..., Page]) -> None:
    base, _ = sites["small"]
    page = page_of(java_script_enabled=False, **LOOKS["light"])
    page.goto(f"{base}/traces?service=web")
    page.get_by_role("link", name="GET /checkout").first.click()
    row = page.locator("details.span").filter(has_text="INSERT orders")
    row.locator("summary").click()
    expect(row.get_by_text("http.route")).to_be_visible()
    page.get_by_role("link", name="Compare with its kind").click()
    expect(page.get_by_text("+180 ms").first).to_be_visible()
    page.get_by_role("link", name="Map").click()
    page.get_by_role("link", name="bank-gateway").first.click()
    expect(page.get_by_label("Service")).to_have_value("bank-gateway")
    page.goto(f"{base}/")
    page.get_by_text("Python", exact=True).click()
    expect(page.get_by_text("opentelemetry-bootstrap -a install")).to_be_visible()


def test_the_waterfall_is_used_with_keys_alone(sites: "dict[str, tuple[str, list[str]]]", page_of: Callable[..., Page]) -> None:
    base, _ = sites["small"]
    page = page_of(**LOOKS["light"])
    page.goto(f"{base}/traces/{SLOW}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    rows = page.locator("details.span summary")
    rows.first.focus()
    for key, name in (("ArrowDown", "POST /orders"), ("c", "INSERT orders"), ("ArrowDown", "SELECT stock"), ("c", "charge")):
        page.keyboard.press(key)
        expect(page.locator("summary:focus")).to_contain_text(name)
    page.keyboard.press("Enter")
    expect(page.locator("details.span[open]")).to_contain_text("On the critical path")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_numbers_are_live(page_of: Callable[..., Page]) -> None:
    received = iter(range(1000, 100_000))

    def counting(path: str, _: Mapping[str, str]) -> tuple[int, bytes]:
        return (200, METRICS.format(received=next(received), written=7).encode()) if path == "/metrics" else (200, READY)

    with served(Console(MemoryReader([]), settings(), ask=counting)) as base:
        page = page_of(**LOOKS["light"])
        page.goto(base)
        number = page.locator(".road .big").first
        shown = number.inner_text()
        expect(number).not_to_have_text(shown)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.goto("about:blank")


def test_a_key_is_asked_for_by_the_browser_and_is_in_no_address(page_of: Callable[..., Page]) -> None:
    key, secret = new_key("person", ("1",))
    reader, demo_id = small(time.time_ns())
    console = Console(reader, settings(api_keys=Path("keys")), some_keys(key))
    with served(console) as base:
        stranger = page_of(**LOOKS["light"])
        answer = stranger.request.get(f"{base}/traces")
        assert answer.status == 401
        page = page_of(**LOOKS["light"], http_credentials={"username": "anybody", "password": secret})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{base}/traces")
        expect(page.get_by_role("link", name="GET /checkout").first).to_be_visible()
        assert demo_id not in page.content()
        page.get_by_role("link", name="GET /checkout").first.click()
        expect(page.get_by_role("heading", name="Waterfall")).to_be_visible()
        assert not [url for url in asked if secret in url]
        assert page.context.cookies() == []


def test_the_console_of_up_shows_the_demo(up: Running, page_of: Callable[..., Page]) -> None:
    trace_id, requests = demo_requests(time.time_ns())
    for each in requests:
        assert up.post(each.SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    wait_until(up.drained)
    page = page_of(**LOOKS["light"])
    page.goto(f"{up.url}/")
    expect(page.get_by_role("link", name="Console")).to_have_attribute("href", up.console_url.replace("127.0.0.1", "localhost"))
    page.goto(f"{up.console_url}/traces/{trace_id}")
    expect(page.locator("rect.crit")).to_have_count(11)
    link = page.get_by_role("link", name="Open in MLflow").get_attribute("href")
    assert link is not None
    page.add_init_script(_NO_HINTS)
    page.goto(link)
    expect(page.get_by_role("dialog").get_by_text("chat gpt-4o-mini").first).to_be_visible()
