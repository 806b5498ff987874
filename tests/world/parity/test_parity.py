"""What MLflow would have written, Headrace writes: the whole corpus through MLflow's own endpoint and through Headrace, then
every row of every table compared. See corpus.py for what is sent, compare.py for what is not compared, and why."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import combinations

import pytest
from conftest import CloneDatabase, report
from parity.compare import diff, explain, not_found, unknown
from parity.corpus import Scenario, corpus, mlflow_breaks, names_of
from parity.databases import MLFLOW_SETTINGS, seed
from parity.roads import Road, headrace_road, mlflow_road
from parity.shapes import DIMENSIONS, pairwise

pytestmark = pytest.mark.slow("config errors otlp envelope queue processor pipeline mlflow export receiver local tests/parity")

MODES = ("each request written before the next is sent", "all requests piled up")


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    """The corpus."""
    return corpus()


@pytest.fixture(scope="module")
def seeded(clone_database: CloneDatabase) -> Iterator[Callable[[], str]]:
    """A function that clones a database in which MLflow already has experiments, runs and traces; gives the clone's URL."""
    with ExitStack() as stack:
        seed(source := stack.enter_context(clone_database()))
        yield lambda: stack.enter_context(clone_database(source))


@pytest.fixture(scope="module")
def roads(
    scenarios: list[Scenario],
    seeded: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> dict[str, Road]:
    """The corpus' way through MLflow, and through Headrace in each mode; all at the same time, as it saves half a minute."""
    directory = tmp_path_factory.mktemp("parity")
    broken = [scenario for scenario in mlflow_breaks() if not scenario.spins]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        for name, value in MLFLOW_SETTINGS.items():
            patch.setenv(name, value)
        futures = {"MLflow": pool.submit(mlflow_road, directory / "mlflow", seeded(), scenarios, broken)}
        for number, mode in enumerate(MODES):
            url = seeded()
            futures[mode] = pool.submit(headrace_road, directory / str(number), url, scenarios, mode == MODES[1])
        found = {name: future.result() for name, future in futures.items()}
    report(request.config, "parity").extend(_summary(scenarios, found))
    return found


def _summary(scenarios: list[Scenario], roads: dict[str, Road]) -> list[str]:
    exchanges = [exchange for scenario in scenarios for exchange in scenario.exchanges]
    spans = sum(len(exchange.spans) for exchange in exchanges)
    tables = {table: len(found) for table, found in roads["MLflow"].rows.items() if found}
    counts = ", ".join(f"{table} {count}" for table, count in sorted(tables.items(), key=lambda item: -item[1]))
    return [
        f"{len(scenarios)} scenarios, {len(exchanges)} requests, {spans} spans",
        f"{sum(tables.values())} rows compared: {counts}",
        *(f"{road.seconds:.1f} s: {name}" for name, road in roads.items()),
    ]


def test_mlflow_stores_every_scenario(roads: dict[str, Road]) -> None:
    assert roads["MLflow"].complaints == []


@pytest.mark.parametrize("mode", MODES)
def test_headrace_stores_every_scenario(roads: dict[str, Road], mode: str) -> None:
    (told,) = roads[mode].complaints  # MLflow stores these spans as well, and tells nobody
    assert told.startswith("a deleted experiment: 200 ")
    assert "their experiment is deleted in MLflow" in told


@pytest.mark.parametrize("mode", MODES)
def test_every_row_is_what_mlflow_would_have_written(roads: dict[str, Road], scenarios: list[Scenario], mode: str) -> None:
    names = names_of(scenarios)
    differences = diff(roads["MLflow"].rows, roads[mode].rows)
    if found := unknown(differences, names):
        pytest.fail(explain(found, names), pytrace=False)
    assert not_found(differences, names) == set()


def test_mlflow_refuses_what_is_said_to_break_it(roads: dict[str, Road]) -> None:
    assert roads["MLflow"].refused == {scenario.name for scenario in mlflow_breaks() if not scenario.spins}


def test_the_corpus_is_the_same_every_time_and_no_two_scenarios_share_a_trace(scenarios: list[Scenario]) -> None:
    assert corpus() == scenarios
    everything = [*scenarios, *mlflow_breaks()]
    assert len({scenario.name for scenario in everything}) == len(everything)
    ids = [trace_id for scenario in everything for trace_id in scenario.trace_ids]
    assert len(set(ids)) == len(ids)


def test_each_two_values_of_two_dimensions_meet() -> None:
    rows = pairwise(DIMENSIONS)
    for one, other in combinations(DIMENSIONS, 2):
        met = {(row[one], row[other]) for row in rows}
        assert len(met) == len(DIMENSIONS[one]) * len(DIMENSIONS[other])
