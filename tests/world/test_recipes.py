"""docs/getting-started.md and docs/recipes.md: each block of code is run, and prints what the page says it prints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from blocks import ROOT, Block, blocks, exported, run
from conftest import Launcher, Running, rows, wait_until

import otlp

START, RECIPES = "docs/getting-started.md", "docs/recipes.md"
OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


@pytest.fixture
def ports(up: Running) -> dict[str, str]:
    """The ports that the pages name, and those of this Headrace."""
    urls = {"4318": up.url, "5000": up.ui_url, "4319": up.console_url}
    return {f"localhost:{named}": url.removeprefix("http://") for named, url in urls.items()}


@pytest.fixture
def settings(up: Running, tmp_path: Path) -> dict[str, str]:
    """For programs that send to this Headrace, and for its own commands."""
    of = {"HTTP": up.url, "UI": up.ui_url, "CONSOLE": up.console_url}
    own = {f"HEADRACE_{name}_PORT": url.rpartition(":")[2] for name, url in of.items()}
    sent = dict(zip(OTLP, (f"{up.url}/v1/traces", "x-mlflow-experiment-id=0"), strict=True))
    others = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "MLFLOW_TRACKING_URI": up.ui_url, "HOME": str(tmp_path)}
    return {**own, **sent, **others}


def section(page: str, heading: str) -> list[Block]:
    """The blocks below a heading."""
    found = [block for block in blocks(page) if block.heading == heading]
    assert found, f"{page} has no blocks below {heading!r}"
    return found


def moved(block: Block, ports: Mapping[str, str]) -> Block:
    """The block, with this Headrace's ports."""
    code = block.code
    for named, port in ports.items():
        code = code.replace(named, port)
    return replace(block, code=code)


def assert_runs(found: Sequence[Block], ports: Mapping[str, str], settings: Mapping[str, str], cwd: Path) -> str:
    """Runs blocks in their order. A block of text is what the one before it prints. Returns the last output."""
    said, settings = "", dict(settings)
    for block in (moved(block, ports) for block in found if not block.not_run):
        if block.language == "text":
            assert [line for line in block.code.splitlines() if squeezed(line) not in squeezed(said)] == [], said
        elif block.code.startswith("export"):
            settings |= exported(block.code)
        else:
            said = run(block, settings, cwd)
    return said


def squeezed(text: str) -> str:
    """Without what addresses and widths of a terminal change."""
    return "".join(text.replace("127.0.0.1", "localhost").split())


@pytest.mark.parametrize("heading", ["The first trace", "Python", "Without an SDK"])
def test_getting_started(
    up: Running, heading: str, ports: Mapping[str, str], settings: Mapping[str, str], tmp_path: Path
) -> None:
    found = section(START, heading)
    assert [block.language for block in found if not block.not_run]
    assert_runs(found, ports, settings, tmp_path)


def test_each_block_of_getting_started_is_run_or_says_why_not() -> None:
    ran = {"The first trace", "Python", "Without an SDK", "Your own service"}  # the last are exports that all others have
    assert {block.heading for block in blocks(START) if not block.not_run} <= {*ran, "Start it"}
    assert [block.language for block in blocks(START) if block.heading == "Start it" and not block.not_run] == ["text"]
    for name in exported(section(START, "Your own service")[0].code):
        assert name.startswith("OTEL_")


def request_of(name: str, **resource: str) -> bytes:
    """A span of a service with these resource attributes; `a__b` is `a.b`."""
    said = {key.replace("__", "."): value for key, value in resource.items()}
    made = otlp.request(otlp.span(name), service=None)
    for key, value in said.items():
        made.resource_spans[0].resource.attributes.add(key=key).value.string_value = value
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("heading", "sent"),
    [
        ("An experiment for each service", {"cart": {"service__name": "cart"}, "till": {"service__name": "till"}}),
        ("An experiment for each team", {"team/payments": {"team": "payments"}, "unclaimed": {}}),
        (
            "An experiment for each environment",
            {
                "prod/cart": {"deployment__environment__name": "prod", "service__name": "cart"},
                "staging": {"deployment__environment__name": "staging", "service__name": "cart"},
                "unknown environment": {},
            },
        ),
    ],
)
def test_which_experiment(headrace: Launcher, database_url: str, heading: str, sent: dict[str, dict[str, str]]) -> None:
    (block,) = section(RECIPES, heading)
    given: dict[str, Any] = {name.removeprefix("HEADRACE_").lower(): value for name, value in exported(block.code).items()}
    running = headrace(database_url=database_url, **given)
    for name, resource in sent.items():
        assert running.post(request_of(name, **resource)).status_code == 200
    wait_until(running.drained, 90)
    query = "SELECT s.name AS span, e.name FROM spans s JOIN experiments e USING (experiment_id)"
    assert {row["span"]: row["name"] for row in rows(database_url, query)} == {name: name for name in sent}


def test_the_collector_s_block_is_a_part_of_the_example() -> None:
    (block,) = section(RECIPES, "A Collector in front")
    whole = yaml.safe_load((ROOT / "examples" / "collector" / "config.yaml").read_text())
    assert list(beside(yaml.safe_load(block.code), whole)) == []


def beside(part: Any, whole: Any, path: str = "") -> Iterator[str]:
    """The places where the part is not as the whole is."""
    if isinstance(part, dict) and isinstance(whole, dict):
        for key, value in part.items():
            yield from beside(value, whole.get(key), f"{path}/{key}")
    elif part != whole:
        yield f"{path}: {part!r}, not {whole!r}"


def test_sampling_is_set_by_the_sdk_s_own_variables() -> None:
    from opentelemetry.sdk.trace.sampling import _KNOWN_SAMPLERS

    found = exported(section(RECIPES, "Sampling")[0].code)
    assert found.pop("OTEL_TRACES_SAMPLER") in _KNOWN_SAMPLERS
    assert found == {"OTEL_TRACES_SAMPLER_ARG": "0.1"}


@pytest.mark.slow("receiver mlflow docs/recipes.md")  # each of MLflow's clients imports for seconds
@pytest.mark.parametrize("over", ["mlflow", "otlp", "both"])
def test_mlflow_s_sdk_in_its_three_ways(up: Running, settings: dict[str, str], tmp_path: Path, over: str) -> None:
    if over == "mlflow":
        settings = {name: value for name, value in settings.items() if not name.startswith("OTEL_")}
    if over == "both":
        settings["MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT"] = "true"
    block, variables = section(RECIPES, "MLflow's SDK, in its three ways of exporting")
    assert exported(variables.code).keys() == {*OTLP, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"}
    before = written(up)
    trace_id = next(line for line in run(block, settings, tmp_path).splitlines() if line.startswith("tr-"))
    info = wait_until(lambda: trace(up, trace_id), 60)
    assert "Hello, world!" in info["response_preview"]
    if over == "mlflow":
        assert written(up) == before
    else:
        wait_until(lambda: written(up) > before, 60)


def trace(up: Running, trace_id: str) -> Any:
    """What MLflow knows of a finished trace; None: nothing yet."""
    answer = httpx.get(f"{up.ui_url}/api/3.0/mlflow/traces/{trace_id}", timeout=30)
    info = answer.json()["trace"]["trace_info"] if answer.status_code == 200 else None
    return info if info and info["state"] == "OK" else None


def written(up: Running) -> float:
    """Spans that Headrace has written."""
    lines = httpx.get(f"{up.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("headrace_spans_written_total"))


@pytest.mark.slow("receiver mlflow docs/recipes.md")  # each of MLflow's clients imports for seconds
def test_a_trace_is_linked_to_a_run(up: Running, settings: dict[str, str], tmp_path: Path) -> None:
    (block,) = section(RECIPES, "Link a trace to a run")
    run_id = last_id(run(block, settings, tmp_path))
    body = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}],
            "filter": f"trace.run_id = '{run_id}'"}  # fmt: skip
    url = f"{up.ui_url}/api/3.0/mlflow/traces/search"
    (found,) = wait_until(lambda: httpx.post(url, json=body, timeout=30).json().get("traces"), 60)
    assert found["tags"]["mlflow.traceName"] == "train"


def last_id(said: str) -> str:
    """The run's id that a program has printed, among what MLflow prints."""
    return next(line for line in reversed(said.splitlines()) if len(line) == 32 and line.isalnum())


@pytest.mark.slow("receiver mlflow docs/recipes.md")  # each of MLflow's clients imports for seconds
def test_traces_that_came_over_otlp_are_evaluated(
    up: Running, ports: Mapping[str, str], settings: dict[str, str], tmp_path: Path
) -> None:
    sending, _ = section(RECIPES, "MLflow's SDK, in its three ways of exporting")
    trace_id = next(line for line in run(sending, settings, tmp_path).splitlines() if line.startswith("tr-"))
    wait_until(lambda: trace(up, trace_id), 60)
    own = {name: value for name, value in settings.items() if not name.startswith("OTEL_")}  # its own traces stay with MLflow
    assert_runs(section(RECIPES, "Evaluate traces that came over OTLP"), ports, own, tmp_path)
    found = httpx.get(f"{up.ui_url}/api/3.0/mlflow/traces/{trace_id}", timeout=30).json()["trace"]["trace_info"]
    assert [each["assessment_name"] for each in found["assessments"]] == ["polite"]
