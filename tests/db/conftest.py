"""Tests of this tier run in this process: whoever needs a spawned Headrace belongs to tests/system."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """pytest's hook; it gets the items of all tiers."""
    for item in items:
        if Path(__file__).parent in item.path.parents and {"headrace", "up"} & set(getattr(item, "fixturenames", ())):
            raise pytest.UsageError(f"{item.nodeid} starts a Headrace: it belongs to tests/system")
