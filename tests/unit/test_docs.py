"""The documentation says what the code does."""

import ast
import importlib.util
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from sources import nodes, trees

from headrace import errors, telemetry
from headrace.config import Config
from headrace.processor.verdict import REASONS, REPAIRS, WARNINGS
from headrace.telemetry.families import LABELS

ROOT = Path(__file__).parents[2]


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", generator().PAGES)
def test_the_tables_are_the_code_s(page: str) -> None:
    assert (ROOT / page).read_text() == generator().rendered(page), "run `make docs`"


def test_every_setting_is_documented() -> None:
    for name in Config.model_fields:
        assert f"`HEADRACE_{name.upper()}`" in (ROOT / "docs" / "configuration.md").read_text()


def test_the_readme_is_short_and_has_ten_settings() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 120
    assert len(re.findall(r"^\| `HEADRACE_", readme, re.MULTILINE)) == len(generator().MAIN_SETTINGS) == 10


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = {f"HEADRACE_{name.upper()}" for name in Config.model_fields}
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        assert set(re.findall(r"HEADRACE_[A-Z][A-Z_]+[A-Z]", path.read_text())) <= known, path.name


def test_the_architecture_page_has_every_room() -> None:
    _, _, after = (ROOT / "docs" / "architecture.md").read_text().partition("\n## The rooms\n")
    rows = re.findall(r"^\| `([a-z_]+)` \|", after.partition("\n## ")[0], re.MULTILINE)
    package = ROOT / "app" / "headrace"
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert set(rows) == {room for room in rooms if not room.startswith("_")}


def test_every_metric_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for module in pkgutil.iter_modules(telemetry.__path__, "headrace.telemetry.")
        for collector in vars(importlib.import_module(module.name)).values()
        if isinstance(collector, MetricWrapperBase)
        for metric in collector.describe()
    }
    assert metrics
    assert set(re.findall(r"`(headrace_[a-z_]+)`", text)) == metrics


def test_the_tour_of_a_lost_trace_names_what_there_is() -> None:
    """Metrics, with or without their suffix; reasons of refusals, all of them; events; headings that its links lead to."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    known = set(re.findall(r"`(headrace_[a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    assert set(re.findall(r"`(headrace_[a-z_]+)[`{]", page)) <= known
    refused = page.partition("\n## It is refused\n")[2].partition("\n## ")[0]
    reasons = {
        reason
        for row in re.findall(r"^\| [0-9, ]+ \|([^|]*)\|", refused, re.MULTILINE)
        for reason in re.findall(r"`(\w+)`", row)
    }
    assert reasons == set(LABELS["headrace_requests_refused"]["reason"])
    events = generator().events()
    for event in ("wrong port", "TLS handshakes fail", "requests refused", "spans rejected", "records rejected", "write waits"):
        assert f"`{event}`" in page
        assert f"| {event} |" in events
    for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page):
        text = (ROOT / "docs" / target).read_text() if target else page
        assert anchor in {
            re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        }


def test_every_event_has_a_name_that_stands_in_the_code() -> None:
    for path in trees():
        for node in nodes(path):
            called = generator().called_by(node) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and re.fullmatch(r"log\.\w+|log_rarely", called):
                assert called == "log_rarely" or called.removeprefix("log.") in generator().LEVELS, called
                event = node.args[0]
                handed_on = path.name == "logging.py" and ast.unparse(event) == "event"
                assert handed_on or isinstance(event, ast.Constant), ast.unparse(node)


def test_the_reasons_that_are_counted_are_those_that_validation_knows() -> None:
    assert LABELS["headrace_spans_rejected"] == {"reason": tuple(REASONS)}


def rules_of(module: Iterable[ast.AST]) -> Iterator[str]:
    """The rules of repair that a module counts: `repaired["a"]`, `cut(…, "b", repaired)`, `SPANS_REPAIRED.labels("c")`."""
    for node in module:
        rule: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("repaired"):
            rule = node.slice
        elif isinstance(node, ast.Call) and generator().called_by(node) in ("cut", "text.cut"):
            rule = node.args[2]
        elif isinstance(node, ast.Call) and generator().called_by(node) == "SPANS_REPAIRED.labels":
            rule = node.args[0]
        if isinstance(rule, ast.Constant):
            yield str(rule.value)
        elif rule is not None:
            assert ast.unparse(rule) == "rule", f"{ast.unparse(node)}: a rule's name is a constant, or handed on as `rule`"


def test_the_table_of_repairs_has_every_rule_and_no_other() -> None:
    _, _, after = (ROOT / "docs" / "operations.md").read_text().partition("\n| Rule | What was done |\n")
    table = after.partition("\n\n")[0]
    documented = [rule for row in table.splitlines() for rule in re.findall(r"`([a-z_]+)`", row.split("|")[1])]
    counted = {rule for path in trees() for rule in rules_of(nodes(path))}
    assert len(counted) >= 5
    assert sorted(documented) == sorted(counted | set(REPAIRS) | set(WARNINGS))
    counters = ("headrace_spans_repaired", "headrace_records_repaired")
    assert set(documented) == {rule for counter in counters for rule in LABELS[counter]["rule"]}
    assert len(documented) == len(set(documented))


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


@cache
def anchors(page: str) -> set[str]:
    """Those of a page's headings, as a repository's pages and `make site` make them."""
    heads = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_lead_to_headings_that_there_are(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", (ROOT / page).read_text()):
        path = ((ROOT / page).parent / target).resolve().relative_to(ROOT) if target else Path(page)
        if path.suffix == ".md":
            assert anchor in anchors(str(path)), f"{target}#{anchor}"


def test_the_site_has_each_page_in_its_order() -> None:
    """The decisions are added by docs/pages.py."""
    listed = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {path.name for path in ROOT.glob("docs/*.md")} | {
        str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/README.md")
    }
    outside = {
        "index.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CODE_OF_CONDUCT.md",
        "SECURITY.md",
        "proto/README.md",
        "examples/README.md",
    }
    assert listed == pages | outside


def code(language: str) -> list[tuple[str, str]]:
    """The blocks of one language in all pages: page, and code."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")]
    block = re.compile(rf"^( *)```{language}\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    return [
        (str(page.relative_to(ROOT)), textwrap.dedent(each)) for page in pages for _, each in block.findall(page.read_text())
    ]


def test_blocks_of_code_can_be_read() -> None:
    """What a person copies is at least a text of its language; tests/world/test_recipes.py runs more of it."""
    for page, block in code("python"):
        ast.parse(block, page)
    for page, block in code("yaml"):
        assert yaml.safe_load(block), page
    for page, block in code("json"):
        assert json.loads(block), page


def test_each_command_in_a_block_of_shell_is_one_that_there_is() -> None:
    import typer

    from headrace.cli.main import app

    asked = [
        (page, line)
        for page, block in code("sh")
        for line in block.splitlines()
        if re.match(r"\s*(\S*/bin/)?headrace [a-z]", line)
    ]
    assert len(asked) > 10
    for page, line in asked:
        command: Any = typer.main.get_command(app)
        words = line.partition("#")[0].split()[1:]
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"{page}: {line}"
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, f"{page}: {line}"


def test_the_list_of_decisions_has_each_of_them() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \|", (folder / "README.md").read_text(), re.MULTILINE)
    assert [page for _, page in listed] == sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert all(page.startswith(f"{number}-") for number, page in listed)


def pages_and_modules() -> list[Path]:
    """What speaks of this project's files: each page, the Makefile, and the code."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("proto/*.md")]
    found += [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "docs" / "generate.py", *ROOT.glob("app/**/*.py")]
    return [*found, *ROOT.glob("bench/*.py"), *ROOT.glob("migrations/**/*.py")]


NAMED = re.compile(r"(?<![\w./-])((?:tests|app/headrace|docs|bench|deploy|examples|migrations|proto)/[\w./-]*\w)(?![\w*<{])")
ELSEWHERE = ("bench/results", "docs/specification.md")
"""What `make bench` makes, and a page of opentelemetry-proto."""


def is_there(path: str) -> bool:
    """A page of docs/adr may be named by its number."""
    return path.startswith(ELSEWHERE) or (ROOT / path).exists() or any((ROOT / path).parent.glob(f"{Path(path).name}-*"))


def test_every_path_that_is_named_exists() -> None:
    """Of those that begin with a folder of this repository and that are no pattern."""
    missing = {
        f"{page.relative_to(ROOT)} names {path}"
        for page in pages_and_modules()
        for path in NAMED.findall(page.read_text())
        if not is_there(path)
    }
    assert not missing


def test_each_threat_has_tests_that_exist() -> None:
    _, _, after = (ROOT / "docs" / "security.md").read_text().partition("<!-- threats:")
    lines = after.partition("<!-- end of threats -->")[0].splitlines()[3:]
    assert len(lines) > 10
    for line in lines:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", line.split("|")[-2])
        assert named, line
        for path, test in named:
            assert (ROOT / path).exists(), path
            assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path} has no {test}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{target[0] or target[1]}:" in makefile


def test_the_tree_of_errors_has_every_class_and_what_becomes_of_a_request() -> None:
    def below(error: type[errors.HeadraceError]) -> Iterator[type[errors.HeadraceError]]:
        yield error
        for each in error.__subclasses__():
            yield from below(each)

    assert errors.__doc__
    rows = dict(re.findall(r"^[ │├└─]+([A-Z]\w+)(?: +(\d\d\d|–) )?", errors.__doc__, re.MULTILINE))
    known = {each.__name__: each.http_status for each in below(errors.HeadraceError) if each.__module__ == errors.__name__}
    assert rows.keys() == known.keys()
    assert not [name for name, status in rows.items() if status.isdigit() and int(status) != known[name]]
