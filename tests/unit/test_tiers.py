"""The tests' own order: four tiers, each folder a package, each shared helper outside them."""

from pathlib import Path

from conftest import TIERS

TESTS = Path(__file__).parents[1]


def test_each_test_is_in_a_tier() -> None:
    assert {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")} == set(TIERS)


def test_each_folder_of_tests_is_a_package() -> None:
    """Else two files of one name (unit/…/test_order.py, db/…/test_order.py) are one module, and pytest takes none of them."""
    folders = {parent for path in TESTS.rglob("test_*.py") for parent in path.parents if TESTS in parent.parents}
    assert [str(folder.relative_to(TESTS)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
