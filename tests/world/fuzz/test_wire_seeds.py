"""Odd connections to both ports: those that are kept, each alone, and some fresh ones. `make fuzz-wire` plays many."""

import os
from collections.abc import Callable

import pytest
from conftest import Launcher
from fuzz.wire.__main__ import SETTINGS
from fuzz.wire.case import Case, corpus
from fuzz.wire.hunt import Hunt, make_case
from fuzz.wire.watch import Usage

pytestmark = pytest.mark.slow("errors otlp receiver processor pipeline mlflow host tests/fuzz")

KEPT = corpus()
FRESH = 240


@pytest.fixture
def hunt(headrace: Launcher, new_database: Callable[[], str], tmp_path: object) -> Hunt:
    """Over a Headrace of this test's own. What it finds is kept in the test's directory."""
    url = new_database()
    return Hunt(lambda: headrace(database_url=url, **SETTINGS), url, headrace.directory / "found")


def test_kept_cases(hunt: Hunt) -> None:
    """One after another, so that the one that fails is known."""
    before = hunt.usage()
    failed = {name: [complaint.shape for complaint in hunt.batch([case])] for name, case in KEPT.items()}
    assert {name: shapes for name, shapes in failed.items() if shapes} == {}
    assert_well(hunt, before, len(KEPT))


def test_fresh_cases(hunt: Hunt) -> None:
    """Others in each run; WIRE_SEED repeats one."""
    seed = os.environ.get("WIRE_SEED") or os.urandom(4).hex()
    print(f"WIRE_SEED={seed}")
    before = hunt.usage()
    hunt.batch([make_case(seed, number) for number in range(FRESH)])
    assert_well(hunt, before, FRESH)


def assert_well(hunt: Hunt, before: Usage, connections: int) -> None:
    """Nothing was found, everybody was let in, and what they had open is closed."""
    hunt.promises()
    print(hunt.figures)
    assert not hunt.figures.found
    assert hunt.figures.refused == 0
    assert hunt.figures.connections == connections
    assert hunt.usage(before).descriptors <= before.descriptors + 16


def test_a_case_follows_from_its_seed_and_is_the_same_in_a_file() -> None:
    for number in range(200):
        case = make_case("seed", number)
        assert case == make_case("seed", number)
        assert Case.from_json(case.to_json()) == case
