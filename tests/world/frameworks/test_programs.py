"""Programs of agent frameworks against a fake model server: MLflow shows each as the matrix in docs/frameworks.md says."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlflow.entities
import pytest
from conftest import Running, wait_until
from fake_models import fake_models
from frameworks import PROGRAMS, Shown
from frameworks_matrix import Export, missing, shown_of
from mlflow import MlflowClient

from world.frameworks.environments import NAMES, CannotInstallError, command_of
from world.frameworks.running import run

pytestmark = [
    pytest.mark.timeout(900),  # the packages, on a slow network
    pytest.mark.slow("otlp processor mlflow export tests/parity/exports/programs tests/world/frameworks"),
]
LOGGING = ("openai_js_otel",)
"""Programs that say in log records what was asked and answered. Of these their exports have nothing."""
QUESTIONS = {"What is the weather in Paris?", "And in Rome?"}


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    """The URL of the model server."""
    with fake_models() as url:
        yield url


@pytest.fixture(scope="module")
def commands() -> Iterator[dict[str, Future[list[str]]]]:
    """What runs each program. The environments are made while the first programs run."""
    with ThreadPoolExecutor(1) as pool:
        yield {name: pool.submit(command_of, name) for name in NAMES}


def as_export(trace: mlflow.entities.Trace) -> Export:
    """What MLflow's client reads, as the matrix looks at it."""
    spans = [
        Shown(span.name, span.span_type, span.attributes.get("mlflow.llm.model"), None, dict(span.attributes))
        for span in trace.data.spans
    ]
    said: dict[str, Any] = trace.info.trace_metadata
    tokens, cost = (json.loads(said.get(f"mlflow.trace.{key}", "{}")) for key in ("tokenUsage", "cost"))
    made = SimpleNamespace(
        spans={span.span_id: SimpleNamespace(parent_span_id=span.parent_id) for span in trace.data.spans},
        request_preview=trace.info.request_preview,
        response_preview=trace.info.response_preview,
        tokens=[None, None, tokens.get("total_tokens")],
        costs=[None, None, cost.get("total_cost")],
        session_id=said.get("mlflow.trace.session"),
        user_id=said.get("mlflow.trace.user"),
    )
    return Export(spans, cast("Any", made))


def answered(client: MlflowClient, experiment: str) -> list[Export]:
    """The experiment's traces in which a model was called."""
    found = [as_export(client.get_trace(trace.info.trace_id)) for trace in client.search_traces(locations=[experiment])]
    return [export for export in found if export.calls]


def is_whole(name: str, exports: list[Export]) -> bool:
    """Whether both traces are there, and log records have joined them."""
    return len(exports) == 2 and (name not in LOGGING or all(shown_of(export)["previews"] for export in exports))


def test_each_program_s_export_is_kept() -> None:
    assert NAMES == PROGRAMS, "python -m world.frameworks.capture"


@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_shown_as_the_matrix_says(
    name: str, up: Running, models: str, commands: dict[str, Future[list[str]]], tmp_path: Path
) -> None:
    try:
        command = commands[name].result()
    except CannotInstallError as error:
        pytest.skip(f"The packages of {name} cannot be installed: {error}")
    client = MlflowClient(up.ui_url)
    experiment = client.create_experiment(f"program {name}")
    run(command, models, up.url, f"x-mlflow-experiment-id={experiment}", tmp_path)
    wait_until(lambda: is_whole(name, answered(client, experiment)), 60, "a trace for each question")
    exports = answered(client, experiment)
    for export in exports:
        assert not missing(name, shown_of(export)), [export.trace, export.spans]
    if shown_of(exports[0])["previews"]:
        asked = {export.trace.request_preview for export in exports}
        assert asked == QUESTIONS
