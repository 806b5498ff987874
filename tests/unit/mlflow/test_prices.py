"""What a model costs is what MLflow says that it costs, and no file is read for it while spans wait."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.utils import providers

import headrace.mlflow.runtime  # noqa: F401 - replaces MLflow's look-ups
from headrace.mlflow import prices
from headrace.mlflow.translate.dialects.figures import computed_cost

USAGE = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 20}
NOWHERE = ("", "OpenAI", "nobody", "no/body", "../openai", "a" * 5000, "zero\0", "openai ")


@pytest.fixture
def as_mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow's own `_lookup_model_info`, over files."""
    with monkeypatch.context() as patch:
        patch.setattr(providers, "_load_bundled_provider", prices._read_list)
        yield prices._look_up


def test_each_model_of_each_list_has_the_price_that_mlflow_finds(as_mlflow: Any) -> None:
    names = providers._list_provider_names()
    models = {model for name in names for model in prices.read_list(name)}
    assert len(models) > 1000
    for model in [*sorted(models)[::7], "gpt-4o-mini", "openai/gpt-4o-mini", "a/b/c", "", "nobody-7b"]:
        assert prices.look_up(model) == as_mlflow(model)
    for name in names:
        assert prices.read_list(name) == prices._read_list(name)
        for model in list(prices.read_list(name))[:5]:
            assert prices.look_up(model, name) == as_mlflow(model, name)
            assert prices.look_up(f"{name}/{model}", name) == as_mlflow(f"{name}/{model}", name)


@pytest.mark.parametrize("provider", NOWHERE)
def test_a_provider_that_no_list_is_of_has_the_price_of_the_model(provider: str) -> None:
    assert computed_cost("gpt-4o-mini", USAGE, provider) == computed_cost("gpt-4o-mini", USAGE, None) != {}


def test_no_file_is_read_while_spans_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    prices.prepare()
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: opened.append(path))
    known = {"gpt-4o-mini": {provider: computed_cost("gpt-4o-mini", USAGE, provider) for provider in NOWHERE}}
    for number in range(300):  # more names than MLflow keeps files
        assert computed_cost("gpt-4o-mini", USAGE, f"nobody-{number}") == known["gpt-4o-mini"]["nobody"]
    assert computed_cost("nobody-7b", USAGE, None) == {}
    assert opened == []


def test_a_price_list_that_the_user_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = {"openai": {"ours": {"input_cost_per_token": 1.0, "output_cost_per_token": 2.0}}}
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "https://example.invalid")
    monkeypatch.setattr(providers, "_fetch_remote_provider", fetched.get)
    usage = {"input_tokens": 3, "output_tokens": 4}
    assert computed_cost("ours", usage, "openai") == {"input_cost": 3.0, "output_cost": 8.0, "total_cost": 11.0}
    assert computed_cost("ours", usage, None) == {}
    assert computed_cost("gpt-4o-mini", usage, "azure") != {}  # not fetched: that list is MLflow's
