"""The name of a metric in MLflow: from the metric's own name and its attributes, by a template. Pure but for a cache.

MLflow's `log_batch` accepts letters, digits, `_`, `-`, `.`, `:`, blanks and slashes, as a plain relative path of at most 250
characters. It refuses `=`, so an attribute is written `key:value`, and two dots at the beginning, whatever follows them.

Source: mlflow/utils/validation.py, `_validate_metric_name` (3.17).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from headrace.mlflow.text import Repairs

MAX_NAME = 250
_FORBIDDEN = re.compile(r"[^/\w.\- :]")
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_HASH_CHARS = 8

Attributes = tuple[tuple[str, str], ...]
"""The attributes of a data point as texts, sorted by key."""


class Naming:
    """Names by one template, `HEADRACE_METRIC_NAME`."""

    def __init__(self, template: str) -> None:
        self._pieces = _PLACEHOLDER.split(template)
        """Literal texts and names of placeholders in turn."""
        self._own = frozenset(self._pieces[1::2])

    def name(
        self, metric: str, suffix: str, attributes: Attributes, shared: Mapping[str, str], repaired: Repairs | None = None
    ) -> str:
        """The name of a value. `suffix`: `p99`, or empty. `shared`: the attributes of the resource, and `scope`.

        Counts in `repaired` a name that had to be cut.
        """
        used = tuple((key, shared[key]) for key in sorted(self._own & shared.keys()))
        found, was_cut = self._cached(metric, suffix, attributes, used)
        if was_cut and repaired is not None:
            repaired["metric_name_cut"] += 1
        return found

    def _cached(self, metric: str, suffix: str, attributes: Attributes, used: Attributes) -> tuple[str, bool]:
        return _named(tuple(self._pieces), metric, suffix, attributes, used)


@lru_cache(maxsize=16_384)
def _named(pieces: Sequence[str], metric: str, suffix: str, attributes: Attributes, shared: Attributes) -> tuple[str, bool]:
    known = dict(shared) | dict(attributes)
    own = set(pieces[1::2])
    known["name"] = f"{metric}.{suffix}" if suffix else metric
    known["attributes"] = "".join(f".{key}:{value}" for key, value in attributes if key not in own)
    text = "".join(known.get(piece, "") if number % 2 else piece for number, piece in enumerate(pieces))
    return allowed(text)


def allowed(text: str) -> tuple[str, bool]:
    """A text → a name that MLflow accepts, and whether it had to be cut. Names that are cut differ in a checksum at the end."""
    name = _FORBIDDEN.sub("_", text)
    name = "/".join(part for part in name.split("/") if part not in ("", ".", "..")) or "_"
    if name.startswith(".."):
        name = f"_{name[1:]}"
    if len(name) <= MAX_NAME:
        return name, False
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    return f"{name[: MAX_NAME - _HASH_CHARS - 1].rstrip('/')}.{digest}", True
