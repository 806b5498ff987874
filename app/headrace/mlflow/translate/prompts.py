"""The prompts of MLflow's registry that a span names: MLflow's client notes them on the span in which it loads them. No I/O.

Through MLflow's REST API the client links the trace to them; over OTLP there are only the attribute and the tag.

Source: mlflow/tracing/constant.py, `LINKED_PROMPTS`; mlflow/store/tracking/sqlalchemy_store.py, `link_prompts_to_trace` (3.17).
"""

import json
from collections.abc import Mapping
from typing import Any

from headrace.mlflow.keys import LINKED_PROMPTS, TAG_PREFIX
from headrace.mlflow.text import Repairs, unquoted

MAX_PROMPTS = 100
"""Of a trace, in one request."""
_MAX_OF_A_SPAN = 10
_MAX_ID = 36
"""Characters of the column `destination_id`."""
_KEYS = (LINKED_PROMPTS, f"{TAG_PREFIX}{LINKED_PROMPTS}")


def linked_prompts(attributes: Mapping[str, Any], repaired: Repairs) -> list[str]:
    """The prompts that a span's attributes name, as MLflow has them in its links: `name/version`.

    A prompt whose id is longer than its column, and those beyond ten, are left out, and counted.
    """
    found: dict[str, None] = {}
    for key in _KEYS:
        if value := attributes.get(key):
            found.update(dict.fromkeys(_ids(value)))
    fitting = [id_ for id_ in found if len(id_) <= _MAX_ID and "\0" not in id_][:_MAX_OF_A_SPAN]
    if len(fitting) < len(found):
        repaired["prompt_not_linked"] += len(found) - len(fitting)
    return fitting


def _ids(value: Any) -> list[str]:
    """The JSON of a list of prompts, dumped once more or not → their ids. Whatever has another form is none."""
    try:
        prompts = json.loads(unquoted(value))
    except (ValueError, RecursionError):
        return []
    if not isinstance(prompts, list):
        return []
    named = [prompt for prompt in prompts if isinstance(prompt, dict)]
    pairs = [(prompt.get("name"), prompt.get("version")) for prompt in named]
    return [f"{name}/{version}" for name, version in pairs if isinstance(name, str) and isinstance(version, str | int) and name]
