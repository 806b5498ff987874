"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.metrics import MetricWrapperBase

from app import telemetry
from app.config import Config
from app.processor.validate import REASONS, REPAIRS

ROOT = Path(__file__).parent.parent


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_the_table_of_settings_is_the_code_s(page: str) -> None:
    assert (ROOT / page).read_text() == generator().rendered(page), "run `make docs`"
    for name in Config.model_fields:
        assert f"`HEADRACE_{name.upper()}`" in (ROOT / page).read_text()


def test_every_metric_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for collector in vars(telemetry).values()
        if isinstance(collector, MetricWrapperBase)
        for metric in collector.describe()
    }
    assert metrics
    assert set(re.findall(r"`(headrace_[a-z_]+)`", text)) == metrics


def test_every_reason_and_repair_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    for name in (*REASONS, *REPAIRS):
        assert f"`{name}`" in text


@pytest.mark.parametrize(
    "page", sorted(str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"\n{target[0] or target[1]}:" in makefile
