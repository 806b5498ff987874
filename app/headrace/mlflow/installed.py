"""The MLflow that is installed with Headrace, without an import of it, which takes seconds."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

_NAME = re.compile(r"^revision\b.*?=\s*[\"'](\w+)[\"']", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision\b.*?=\s*(.+)$", re.MULTILINE)


@cache
def distribution() -> tuple[str, str] | None:
    """Its package (`mlflow`, which has the UI, or else `mlflow-skinny`) and its release. None: neither is there."""
    for name in ("mlflow", "mlflow-skinny"):
        try:
            return name, version_of(name)
        except PackageNotFoundError:
            continue
    return None


def version() -> str:
    """Its release, such as 3.17.2."""
    found = distribution()
    return found[1] if found else "unknown"


@cache
def revisions() -> dict[str, frozenset[str]]:
    """The revisions that its migrations make → those that each comes after. Empty: it has brought no migrations."""
    found = find_spec("mlflow")
    if found is None or found.origin is None:
        return {}
    scripts = Path(found.origin).parent / "store" / "db_migrations" / "versions"
    made: dict[str, frozenset[str]] = {}
    for script in scripts.glob("*.py"):
        code = script.read_text(encoding="utf-8")
        if name := _NAME.search(code):
            before = _BEFORE.search(code)
            made[name[1]] = frozenset(re.findall(r"\w{6,}", before[1])) if before else frozenset()
    return made


def newest_revision() -> str | None:
    """The revision that its `mlflow db upgrade` ends at."""
    made = revisions()
    newest = made.keys() - {earlier for before in made.values() for earlier in before}
    return newest.pop() if len(newest) == 1 else None
