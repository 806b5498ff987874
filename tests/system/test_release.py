"""`make release`, as a dry run: what would be published is built, and is whole."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def release(tmp_path: Path) -> Any:
    """The script, whose output and files to change stand elsewhere."""
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.OUTPUT = tmp_path / "out"
    return module


def test_a_dry_run_finds_nothing_missing(release: Any) -> None:
    release.build()
    assert release.check(release.version()) == []
    assert release.version() == __version__
    (wheel,) = release.OUTPUT.glob("*.whl")
    assert f"-{__version__}-" in wheel.name
    assert any("says version" in problem for problem in release.check("9.9.9"))


def test_the_next_number_is_written_wherever_it_stands(release: Any, tmp_path: Path) -> None:
    for name in (*release.STATED, "app/headrace/__init__.py", "CHANGELOG.md"):
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / name).read_text())
    release.ROOT, release.INIT, release.CHANGELOG = (
        tmp_path,
        tmp_path / "app" / "headrace" / "__init__.py",
        tmp_path / "CHANGELOG.md",
    )
    assert release.prepare("next") == ["next is no version: it must look like 0.2.0"]
    assert release.prepare("12.3.4") == []
    assert release.version() == "12.3.4"
    assert set(map(frozenset, release.stated().values())) == {frozenset({"12.3.4"})}
    log = (tmp_path / "CHANGELOG.md").read_text()
    assert log.index("## [Unreleased]") < log.index("## [12.3.4] - 20") < log.index("### Added")
    assert release.prepare("12.3.4") == ["CHANGELOG.md has 12.3.4 already"]


def test_what_is_not_dated_is_not_released(release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release.CHANGELOG = tmp_path / "CHANGELOG.md"
    release.CHANGELOG.write_text("## [Unreleased]\n")
    monkeypatch.setattr(sys, "argv", ["release.py"])
    assert release.main() == 1
    assert not release.OUTPUT.exists()
