"""The console's pages over a reader in memory: what they show, to whom, and that whatever a trace says is only text."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console import Console, answers, large, settings, shop_id, shop_trace, silent, small, some_keys, wide_trace
from readers import MemoryReader
from thinned import EACH

from headrace.console.web.waterfall import PAGE
from headrace.receiver.auth import new_key
from otlp import request, span

NOW = time.time_ns()
PATHS = ("/", "/traces", "/compare", "/map", "/quality")


@pytest.fixture(scope="module")
def filled() -> "tuple[Console, str]":
    reader, trace_id = small(NOW)
    return Console(reader, settings()), trace_id


@pytest.mark.parametrize("path", PATHS)
def test_each_page_is_there_while_nothing_has_come(path: str) -> None:
    answer = Console(MemoryReader([]), settings()).get(path)
    assert answer.status_code == 200
    assert "</html>" in answer.text
    assert ("Nothing has come yet" in answer.text) == (path == "/")


def test_the_lines_to_copy_have_the_right_host_port_and_experiment(filled: "tuple[Console, str]") -> None:
    console, _ = filled
    told = replace(console, config=settings(otlp_url="https://otel.example:4443/", api_keys=Path("keys")), keys=some_keys())
    key, secret = new_key("all")
    told.keys = some_keys(key)
    page = told.get("/?experiment=7", authorization=f"Bearer {secret}").text
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://otel.example:4443/v1/traces" in page
    assert "x-mlflow-experiment-id=7,authorization=Bearer%20YOUR-KEY" in page
    assert secret not in page
    assert "localhost:4318" in console.get("/").text
    assert "x-mlflow-experiment-id=0" in console.get("/?experiment=<script>").text


def test_the_status_page_shows_the_road_and_the_experiments(filled: "tuple[Console, str]") -> None:
    console, _ = filled
    page = console.get("/").text
    for text in (
        "48\u202f210",
        "48\u202f121",
        "invalid trace id",
        "unauthenticated",
        "checkout",
        "nightly-evaluation",
        "no trace yet",
    ):
        assert text in page
    assert "malformed span" not in page  # none was rejected for that
    assert "service cart · 10.0.0.9 · &lt;b&gt;otel&lt;/b&gt;" in page
    away = replace(console, ask=silent).get("/")
    assert away.status_code == 200
    assert "The receiver does not answer" in away.text
    assert "checkout" in away.text


def test_a_search_finds_opens_and_pages(filled: "tuple[Console, str]") -> None:
    console, trace_id = filled
    assert trace_id in console.get("/traces?service=fraud-scorer").text
    assert trace_id not in console.get("/traces?service=web&min=300ms").text
    assert shop_id(0) in console.get("/traces?service=postgres&min=200ms&attributes=http.route=/checkout").text
    assert shop_id(2) in console.get("/traces?status=error&since=24h&experiment=1").text
    opened = console.get(f"/traces?id=tr-{trace_id.upper()}")
    assert (opened.status_code, opened.headers["location"]) == (303, f"/traces/{trace_id}")
    for wrong in ("min=soon", "since=later", "attributes=x", "id=zz"):
        answer = console.get(f"/traces?{wrong}")
        assert answer.status_code == 400
        assert "write" in answer.text or "give" in answer.text


def test_pages_of_a_search_leave_nothing_out() -> None:
    reader = MemoryReader([(0, shop_trace(number, NOW - number * 1_000_000_000)[1]) for number in range(60)])
    console = Console(reader, settings())
    path, seen = "/traces", []
    for _ in range(3):
        page = console.get(path).text
        seen += re.findall(r'href="/traces/([0-9a-f]{32})"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert path == ""
    assert seen == [shop_id(number) for number in range(60)]


def test_the_critical_path_of_the_demo_is_marked(filled: "tuple[Console, str]") -> None:
    console, trace_id = filled
    page = console.get(f"/traces/{trace_id}").text
    rows = re.findall(r'<details class="(span[^"]*)".*?<span class="op">([^<]+)</span>', page, re.DOTALL)
    on_path = {name for kind, name in rows if "critical" in kind}
    assert on_path == {
        *("POST /checkout", "score payment", "SELECT customer_features"),
        *("POST /v2/models/fraud-gbm/infer", "chat gpt-4o-mini", "POST /v1/charges"),
    }
    assert len(re.findall(r'class="crit"', page)) == 11
    assert f"http://localhost:5000/#/experiments/0/traces?selectedEvaluationId=tr-{trace_id}" in page
    waited = re.findall(r"</svg>([^<]+)</a><span class=\"num\">([^<]+)</span>", page)
    assert waited[0] == ("chat gpt-4o-mini", "1.16 s")


def test_what_is_off_the_critical_path_is_not_marked(filled: "tuple[Console, str]") -> None:
    page = filled[0].get(f"/traces/{shop_id(1)}?show=critical").text
    assert "INSERT orders" in page
    assert "SELECT stock" not in page


def test_a_comparison_finds_the_regression_that_was_put_in(filled: "tuple[Console, str]") -> None:
    console, _ = filled
    slow, usual = shop_id(0), shop_id(3)
    for query in (f"a={usual}&b={slow}", f"b={slow}"):
        page = console.get(f"/compare?{query}").text
        worst = re.search(r'<ol class="shares">(.*?)</ol>', page, re.DOTALL)
        assert worst is not None
        assert "INSERT orders" in worst[1]
        assert "+180 ms" in worst[1]
        assert worst[1].count("<li>") == 1
    assert "median of 5 traces" in page
    assert "no other trace of this kind" in console.get(f"/compare?b={filled[1]}").text


def test_the_map_and_the_quality_page(filled: "tuple[Console, str]") -> None:
    console, _ = filled
    drawn = console.get("/map").text
    assert 'class="edge many"' in drawn
    for service in ("web", "orders", "postgres", "payments", "bank-gateway", "fraud-scorer"):
        assert f'<a href="/traces?service={service}">' in drawn
    page = console.get("/quality?experiment=1&metric=accuracy").text
    assert re.findall(r'class="regressed"><td[^>]*><a[^>]*>([^<]+)</a>((?: <span class="tag bad">[^<]+</span>)+)', page) == [
        ("fraud-gbm-9", ' <span class="tag bad">worse</span>'),
        ("fraud-gbm-5", ' <span class="tag bad">takes more</span>'),
    ]
    assert page.count('class="run"') == 10
    for takes in ("tokens", "cost"):
        assert "12 runs" in console.get(f"/quality?experiment=1&takes={takes}").text


HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\x00\u202e"


def test_whatever_a_trace_says_is_text() -> None:
    trace_id = b"\7" * 16
    made = span(
        HOSTILE,
        trace_id,
        attrs={HOSTILE: HOSTILE, "url": "javascript:alert(3)"},
        start=NOW,
        end=NOW + 5,
        status={"message": HOSTILE, "code": 2},
    )
    made.events.add(name=HOSTILE).attributes.add(key=HOSTILE).value.string_value = HOSTILE
    made.links.add(trace_id=b"<b>", span_id=b"'\"")
    child = span(HOSTILE, trace_id, parent=made.span_id, start=NOW, end=NOW + 3)
    sent = [(0, request(made, service=HOSTILE)), (0, request(child, service=HOSTILE + "2"))]
    reader = MemoryReader(sent, {0: HOSTILE})  # type: ignore[arg-type]
    console = Console(reader, settings(ui_url="javascript:alert(4)"))
    paths = [
        *PATHS,
        f"/traces/{trace_id.hex()}",
        f"/traces/{trace_id.hex()}?span=%22%3E%3Cscript%3E",
        f"/compare?b={trace_id.hex()}",
    ]
    for path in [*paths, "/traces?service=%3Cscript%3E&attributes=%22%3E%3Cimg", "/%3Cscript%3E", "/traces/%3Cscript%3E"]:
        page = console.get(path).text
        assert not re.search(r"<script(?! src=\"/static/)|<img|onerror=alert\(2\)>|href=\"javascript", page), path


@pytest.mark.parametrize(
    "path", ["/traces/" + "0" * 32, "/nothing", "/traces/xyz", "/compare?b=" + "0" * 32, "/static/../app.py"]
)
def test_what_is_not_there(path: str, filled: "tuple[Console, str]") -> None:
    answer = filled[0].get(path)
    assert answer.status_code in (400, 404)
    assert "</html>" in answer.text


def test_a_large_trace_is_shown_in_pages() -> None:
    trace_id, data = wide_trace(NOW, 1000)
    console = Console(MemoryReader([(0, data)]), settings())
    path, seen = f"/traces/{trace_id}", []
    first = console.get(path).text
    assert len(first) < 1_000_000
    assert f"Spans 1–{PAGE} of 1000" in first
    seen += re.findall(r'id="span-([0-9a-f]+)"', first)
    assert len(seen) == PAGE
    last = console.get(f"{path}?from=999999").text
    assert "Spans 801–1000 of 1000" in last
    chosen = re.findall(r'id="span-([0-9a-f]+)"', last)[-1]
    found = console.get(f"{path}?span={chosen}").text
    assert re.search(rf'id="span-{chosen}" open', found)


def test_a_span_of_megabytes_does_not_make_a_page_of_megabytes() -> None:
    spans = [
        span("x" * 100_000, b"\3" * 16, attrs={f"k{n}" * 500: "v" * 10_000 for n in range(100)}, start=NOW, end=NOW + 9)
        for _ in range(10)
    ]
    console = Console(MemoryReader([(0, request(*spans, service="s" * 100_000))]), settings())  # type: ignore[list-item]
    plain = console.get(f"/traces/{'03' * 16}").text
    assert len(plain) < 1_500_000
    assert "Something is left out" in plain
    assert len(console.get(f"/traces/{'03' * 16}?span={spans[3].span_id.hex()}").text) < 8_000_000
    assert len(console.get("/traces").text) < 300_000


def test_each_answer_has_the_headers_that_keep_it_safe(filled: "tuple[Console, str]") -> None:
    console, trace_id = filled
    for path in (*PATHS, f"/traces/{trace_id}", "/nothing", "/static/console.css", "/healthz"):
        headers = console.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert headers.get("set-cookie") is None
    assert console.get("/").headers["cache-control"] == "no-store"


def test_pages_have_no_inline_script_no_inline_style_and_nothing_from_elsewhere(filled: "tuple[Console, str]") -> None:
    console, trace_id = filled
    for path in (*PATHS, f"/traces/{trace_id}", "/quality?experiment=1", f"/compare?b={shop_id(0)}"):
        page = console.get(path).text
        assert not re.search(r'\sstyle="|<style|\son[a-z]+="|<script>', page)
        for address in re.findall(r'(?:src|href|action)="([^"]+)"', page):
            assert address.startswith(("/", "#", "http://localhost:5000"))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4319"])
def test_a_name_that_is_not_ours_is_refused(host: str, filled: "tuple[Console, str]") -> None:
    console, trace_id = filled
    for path in ("/", f"/traces/{trace_id}", "/live", "/static/console.css"):
        answer = console.get(path, host=host)
        assert answer.status_code == 403
        assert trace_id not in answer.text
    assert replace(console, config=settings(allowed_hosts=(host.partition(":")[0],))).get("/", host=host).status_code == 200


def test_an_open_address_takes_any_name_unless_some_are_set(filled: "tuple[Console, str]") -> None:
    console, _ = filled
    assert replace(console, config=settings(console_host="0.0.0.0")).get("/", host="any.example").status_code == 200
    only = settings(console_host="0.0.0.0", allowed_hosts=("console.example",))
    assert replace(console, config=only).get("/", host="any.example").status_code == 403


@pytest.fixture(scope="module")
def guarded() -> "tuple[Console, dict[str, str], str]":
    """A console that asks for keys; the keys' texts: of all experiments, of 1, of one named, of one that is not there."""
    reader, trace_id = small(NOW)
    made = {
        "all": new_key("all"),
        "one": new_key("one", ("1",)),
        "named": new_key("named", ("checkout",)),
        "none": new_key("none", ("4711", "nobody")),
    }
    keys = some_keys(*(key for key, _ in made.values()))
    return Console(reader, settings(api_keys=Path("keys")), keys), {name: text for name, (_, text) in made.items()}, trace_id


def basic(text: str) -> str:
    import base64

    return f"Basic {base64.b64encode(f'anybody:{text}'.encode()).decode()}"


@pytest.mark.parametrize("path", [*PATHS, "/traces/" + "0" * 32, "/live"])
def test_without_a_key_nothing_is_shown(path: str, guarded: Any) -> None:
    console, texts, _ = guarded
    console.keys._failures.clear()
    for headers in ({}, {"authorization": "Bearer headrace_x_y"}, {"cookie": f"key={texts['all']}"}):
        answer = console.get(path, **headers)
        assert answer.status_code == 401
        assert "checkout" not in answer.text
        if path != "/live":
            assert answer.headers["www-authenticate"].startswith('Basic realm="')
    assert console.get(f"{path}?key={texts['all']}").status_code == 401


def test_a_key_shows_its_experiments_and_no_others(guarded: Any) -> None:
    console, texts, demo_id = guarded
    shop = shop_id(0)
    for name, sees in (("all", (demo_id, shop)), ("one", (shop,)), ("named", (shop,)), ("none", ())):
        headers = {"authorization": basic(texts[name])}
        for trace_id in (demo_id, shop):
            expected = 200 if trace_id in sees else 404
            assert console.get(f"/traces/{trace_id}", **headers).status_code == expected
            assert console.get(f"/compare?b={trace_id}", **headers).status_code == expected
            assert console.get(f"/compare?a={shop}&b={trace_id}", **headers).status_code == (expected if shop in sees else 404)
            assert (trace_id in console.get("/traces", **headers).text) == (trace_id in sees)
            assert (trace_id in console.get("/traces?experiment=0", **headers).text) == (
                trace_id in sees and trace_id == demo_id
            )
        assert ("fraud-scorer" in console.get("/map", **headers).text) == (demo_id in sees)
        assert ("fraud-gbm" in console.get("/quality?experiment=1", **headers).text) == (shop in sees)
        for path in PATHS:
            page = console.get(path, **headers).text
            assert ("nightly-evaluation" in page) == (name == "all" and path in ("/", "/traces", "/map", "/quality"))
            assert texts[name] not in page


def test_a_limited_key_does_not_see_the_numbers_of_all(guarded: Any) -> None:
    console, texts, _ = guarded
    page = console.get("/", authorization=basic(texts["one"])).text
    assert "48\u202f210" not in page
    assert "10.0.0.9" not in page
    assert "unauthenticated" not in page
    assert console.get("/live", authorization=basic(texts["one"])).status_code == 404
    assert "48\u202f210" in console.get("/", authorization=basic(texts["all"])).text


def test_a_large_world_is_bounded() -> None:
    reader, trace_id = large(NOW, 1000, 300 // EACH)
    console = Console(reader, settings(), ask=answers, hour=True)
    sizes = {path: len(console.get(path).text) for path in (*PATHS, "/quality?experiment=1", f"/traces/{trace_id}")}
    assert max(sizes.values()) < 700_000, sizes
    assert sizes["/"] < 60_000


def test_health_and_metrics_of_the_console_itself(guarded: Any) -> None:
    assert guarded[0].get("/healthz").json() == {"status": "alive"}
    assert "headrace_reads_cut_total" in guarded[0].get("/metrics").text
