"""MLflow's price lists, read once at the start of a process that writes spans.

MLflow reads the file of a provider when a span first names it, and the files of all of them when a span's model has no other
price: 60 ms while spans wait. It keeps 128 files in memory, and a name that a client makes up counts as one. So a client with
many names has all files read again and again: 50 ms for each span whose model nobody knows.

Here the lists are read before the first batch, and stay (4 MiB). A look-up is one in a dictionary, with the same answer. A
provider that MLflow has no list of has no prices, and no file is opened for a name that a client has sent.

What the user names with `MLFLOW_MODEL_CATALOG_URI` is fetched by MLflow, as ever, and kept as long as MLflow keeps it.

Source: mlflow/utils/providers.py, `_lookup_model_info` (3.17).
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from mlflow.environment_variables import MLFLOW_MODEL_CATALOG_URI
from mlflow.utils import providers
from mlflow.utils.providers import ModelInfo

_look_up = providers._lookup_model_info
_read_list = providers._load_bundled_provider


class _Lists(NamedTuple):
    """The lists that come with MLflow."""

    by_provider: Mapping[str, Mapping[str, ModelInfo]]
    """Provider → model → what the list says."""
    by_model: Mapping[str, ModelInfo]
    """Model → what the first list says that has a price of it, or else the first that has it."""


@cache
def _lists() -> _Lists:
    by_provider = {name: _read_list(name) for name in providers._list_provider_names()}
    named: dict[str, ModelInfo] = {}
    priced: dict[str, ModelInfo] = {}
    for models in by_provider.values():
        for model, info in models.items():
            named.setdefault(model, info)
            if info.get("input_cost_per_token"):
                priced.setdefault(model, info)
    return _Lists(by_provider, named | priced)


def look_up(model: str, custom_llm_provider: str | None = None) -> ModelInfo | None:
    """MLflow's `_lookup_model_info`: what its lists say of a model. None: nothing."""
    if not custom_llm_provider:
        return _lists().by_model.get(model.split("/", 1)[-1])
    if MLFLOW_MODEL_CATALOG_URI.get():  # type: ignore[no-untyped-call]
        return _look_up(model, custom_llm_provider)
    return read_list(custom_llm_provider).get(model.split("/", 1)[-1])


def read_list(provider: str) -> Mapping[str, ModelInfo]:
    """MLflow's `_load_bundled_provider`: the list of one provider. Empty: there is none."""
    return _lists().by_provider.get(provider, {})


def prepare() -> None:
    """Reads the lists, which takes 60 ms, if that was not done yet. For the start of a writer."""
    _lists()


def install() -> None:
    """Has MLflow's own functions look prices up here, in this process."""
    vars(providers).update(_lookup_model_info=look_up, _load_bundled_provider=read_list)
