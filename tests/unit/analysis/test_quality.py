"""Runs by quality and by what their traces take."""

import pytest

from headrace.analysis.quality import higher_is_better, metrics_of, points, regressed
from headrace.reader import Run, Runs, RunTrace

MS = 1_000_000


def read(*runs: tuple[float, int]) -> Runs:
    """Runs with this accuracy, each with three traces of about these milliseconds."""
    made = [Run(f"r{n}", f"run {n}", n + 1, {"accuracy": accuracy}) for n, (accuracy, _) in enumerate(runs)]
    traces = [
        RunTrace(f"r{n}", f"{n:031x}{m}", m, (ms + m - 1) * MS, m == 2, 100 * m, 0.5 * m)
        for n, (_, ms) in enumerate(runs)
        for m in range(3)
    ]
    return Runs(made, traces, complete=True)


def test_a_run_takes_the_median_duration_or_the_mean_of_tokens_and_cost() -> None:
    (point,) = points(read((0.8, 500)), "duration", "accuracy", higher=True)
    assert (point.takes, point.quality, point.traces, point.errors) == (500 * MS, 0.8, 3, 1)
    assert point.worst.endswith("2")
    assert points(read((0.8, 500)), "tokens", "accuracy", higher=True)[0].takes == 100
    assert points(read((0.8, 500)), "cost", "accuracy", higher=True)[0].takes == 0.5


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0.8, 500), (0.8, 500), ()),
        ((0.8, 500), (0.9, 400), ()),
        ((0.8, 500), (0.795, 540), ()),  # within chance
        ((0.8, 500), (0.7, 500), ("worse",)),
        ((0.8, 500), (0.9, 600), ("takes more",)),
        ((0.8, 500), (0.7, 600), ("worse", "takes more")),
    ],
)
def test_a_regression_is_found_beside_the_run_before(
    before: tuple[float, int], after: tuple[float, int], expected: tuple[str, ...]
) -> None:
    found = points(read(before, after), "duration", "accuracy", higher=True)
    assert found[1].regressions == expected
    assert found[0].regressions == ()
    assert len(regressed(found)) == bool(expected)


def test_less_may_be_better() -> None:
    up = points(read((0.5, 500), (0.7, 500)), "duration", "accuracy", higher=False)
    assert up[1].regressions == ("worse",)
    assert not higher_is_better("val_loss")
    assert higher_is_better("accuracy")


def test_what_says_nothing_is_left_out() -> None:
    found = Runs(
        [Run("a", "a", 1, {"x": 1.0}), Run("b", "b", 2)],
        [RunTrace("a", "0" * 32, 1, 0, False), RunTrace("b", "1" * 32, 1, 5, False)],
        True,
    )
    assert points(found, "duration", "x", higher=True) == []
    assert points(found, "tokens", "x", higher=True) == []
    assert metrics_of(found.runs) == ["x"]
