"""Texts as Postgres can hold them and as MLflow reads them; what has to be changed for that is counted. No I/O.

Unrepaired, each of these would make MLflow reject the whole request.
"""

from collections import Counter
from typing import Any

from headrace.mlflow.json_text import loads

Repairs = Counter[str]
"""How often each rule of repair was used."""


class _Uncounted(Counter[str]):
    """Takes what is added to it, and forgets it."""

    def __setitem__(self, key: str, count: int) -> None:
        """Forgets it."""


UNCOUNTED: Repairs = _Uncounted()
"""For values that are read a second time: their repairs were counted the first time."""


def storable(text: str, repaired: Repairs) -> str:
    """Postgres' text cannot hold NUL, on which MLflow loses the whole request: it becomes U+FFFD."""
    if "\0" in text:
        repaired["nul_replaced"] += 1
        text = text.replace("\0", "\ufffd")
    return encodable(text, repaired)


def encodable(text: str, repaired: Repairs) -> str:
    """Half a surrogate pair (out of JSON within an attribute), on which MLflow loses the whole request, becomes U+FFFD."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            repaired["surrogate_replaced"] += 1
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cut(text: str, limit: int, rule: str, repaired: Repairs) -> str:
    """What is longer than its column, on which MLflow rejects the whole request, is cut."""
    if len(text) > limit:
        repaired[rule] += 1
        text = text[:limit]
    return storable(text, repaired)


def unquoted(value: Any) -> str:
    """MLflow's `_try_parse_json_string`: the text that the JSON holds, or the JSON itself where it holds no text."""
    try:
        parsed = loads(value)
    except (ValueError, TypeError):
        return str(value)
    return parsed if isinstance(parsed, str) else str(value)


def to_object(value: Any) -> dict[str, Any] | None:
    """A dict, or the JSON of one, to be read only; None for anything else."""
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def smaller(one: str | None, other: str | None) -> str | None:
    """The smaller of two values that are there: the choice that does not depend on which came first."""
    return min(filter(None, (one, other)), default=None)
