"""What MLflow's translators ask of a span, told by the translators themselves: they are run on a span that takes notes. No I/O.

`tests/unit/mlflow/test_genai.py` searches the translators' code for whatever these notes would miss.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_OF_ATTRIBUTES = (
    "get_cache_creation_input_tokens",
    "get_cache_read_input_tokens",
    "get_input_tokens",
    "get_input_value",
    "get_message_format",
    "get_model_name",
    "get_model_provider",
    "get_output_tokens",
    "get_output_value",
    "get_tool_definitions",
    "get_total_tokens",
    "translate_span_type",
)
_OF_EVENTS = ("get_input_value_from_events", "get_output_value_from_events")


class Asked(NamedTuple):
    """What a translator asks of a span of which it knows nothing."""

    keys: frozenset[str]
    """The attributes that it looks up."""
    events: frozenset[str]
    """The names with which it compares that of an event."""
    by_method: Mapping[str, frozenset[str] | None]
    """The attributes that each of its methods looks up; None: it has looked at all, and the notes do not say everything."""
    walked: bool
    """It has looked at all attributes, or done more with the name of an event than compare it: then the notes do not say
    everything."""


def record(translator: Any) -> Asked:
    """Everything that a translator asks of a span without attributes and with one event."""
    by_method = {method: _asked_by(getattr(translator, method)) for method in _OF_ATTRIBUTES}
    attributes, name = _Attributes(), _Name("")
    for method in _OF_ATTRIBUTES:
        getattr(translator, method)(attributes)
    event = {"name": name, "time_unix_nano": 0, "attributes": _Attributes()}
    for method in _OF_EVENTS:
        if read := getattr(translator, method, None):
            read([event], attributes)
    return Asked(frozenset(attributes.asked), frozenset(name.asked), by_method, attributes.walked or name.walked)


def _asked_by(method: Any) -> frozenset[str] | None:
    attributes = _Attributes()
    method(attributes)
    return None if attributes.walked else frozenset(attributes.asked)


class _Attributes(dict[str, Any]):
    """An empty dict that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()
        self.walked = False

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return default

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return False

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        self.walked = True
        return iter(())

    def keys(self) -> Any:
        self.walked = True
        return {}.keys()

    def items(self) -> Any:
        self.walked = True
        return {}.items()


class _Name(str):
    """An empty text that remembers what it was compared with, and equals nothing."""

    __slots__ = ("asked", "walked")

    def __init__(self, _: str) -> None:
        self.asked: set[str] = set()
        self.walked = False

    def __eq__(self, other: object) -> bool:
        self.asked.add(str(other))
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        self.walked = True  # it is looked up in a set or a dict, which compares with nothing
        return 0

    def startswith(self, *_: Any) -> bool:
        self.walked = True
        return False

    endswith = startswith
