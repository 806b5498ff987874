"""What MLflow's code needs of the process before it is used well. It happens when this is imported.

- `litellm`, where it is not installed, is known to be missing. MLflow tries to import it for each span with a cost, which
  takes 250 µs a span else.
- MLflow's price lists are looked up in memory (`prices.py`).
- MLflow's translators, which parse the same text several times, are given what it says where that is known (`json_text.py`):
  the messages of a chat took half of the time of its span else.
- MLflow's store does not log the whole stack of each database error before it raises it: the worker says the same in one line.

`MLFLOW_DEFAULTS` (in `headrace.config`) are set by the commands, as their children need them too.
"""

import json
import logging
import sys
from importlib.util import find_spec
from types import SimpleNamespace

from mlflow.tracing.otel.translation import base

from headrace.mlflow import prices
from headrace.mlflow.json_text import loads

if find_spec("litellm") is None:
    sys.modules.setdefault("litellm", None)  # type: ignore[arg-type]

prices.install()

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

SHARED_JSON = SimpleNamespace(**(vars(json) | {"loads": loads}))
"""The module `json`, with `loads` that parses each text once. What it returns may only be read, as MLflow's `base` does."""
setattr(base, "json", SHARED_JSON)  # noqa: B010 - for mypy, MLflow does not export its imports
