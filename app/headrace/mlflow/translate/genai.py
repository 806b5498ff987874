"""MLflow's own translation of LLM spans (twelve dialects → `mlflow.*` attributes), run only where a span asks for it.

A translator looks a handful of attribute keys up. Run on a span without attributes, it shows which keys it asks for first:
a span that has none of them takes the same path through it, to the same answer, nothing. So the keys are not listed
here by hand but recorded from the translators themselves when this module is imported, and a span visits only those
translators of which it has a key. The code that runs is MLflow's, function for function, with a shorter list of translators.

Source: mlflow/tracing/otel/translation/__init__.py, `translate_span_when_storing` (3.17).
"""

from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any

from mlflow.tracing.otel import translation
from mlflow.tracing.otel.translation.spring_ai import SpringAiTranslator

import headrace.mlflow.runtime  # noqa: F401 - for what it does to the process
from headrace.mlflow.keys import PREFIX
from headrace.mlflow.translate.content import sanitized_attributes

_METHODS = (
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

PREFIXES = {"TraceloopTranslator": ("gen_ai.prompt.", "gen_ai.completion."), "LiveKitTranslator": ("lk.",)}
"""The two translators that walk over all keys look for these prefixes (a test holds them to it)."""

EVENTS = frozenset(
    {
        SpringAiTranslator.PROMPT_EVENT_NAME,
        SpringAiTranslator.COMPLETION_EVENT_NAME,
    }
)
"""Events that are read whatever the attributes are. (Claude Code's are read only on spans with its own attributes.)"""


class Recorder(dict[str, Any]):
    """An empty dict that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: set[str] = set()
        self.walked = False

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_asked.add(key)
        return default

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(str(key))
        return False

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
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


def record(translator: Any) -> Recorder:
    """Everything that a translator asks of a span without attributes."""
    recorder = Recorder()
    for method in _METHODS:
        getattr(translator, method)(recorder)
    return recorder


_KEYS = [(translator, frozenset(record(translator).keys_asked)) for translator in translation._TRANSLATORS]
_TRIGGERS: frozenset[str] = frozenset().union(*(keys for _, keys in _KEYS))
# Attributes of MLflow's own take part: a model is looked for in inputs, a cost made of tokens.
_ALL_PREFIXES = (PREFIX, *(prefix for prefixes in PREFIXES.values() for prefix in prefixes))


@lru_cache(maxsize=4096)
def asks(keys: tuple[str, ...]) -> bool:
    """Whether any translator has something to say to a span with these attribute keys."""
    return any(key in _TRIGGERS or key.startswith(_ALL_PREFIXES) for key in keys)


def translate(span: dict[str, Any]) -> dict[str, Any]:
    """MLflow's `translate_span_when_storing`, for a span in the form of its `Span.to_dict()`; returns that form again."""
    keys = tuple(span["attributes"])
    names = _relevant(keys)
    if any(event["name"] in EVENTS for event in span["events"]):
        names |= {"SpringAiTranslator"}
    translated: dict[str, Any] = _translation(names)(_AsSpan(span))
    return translated


class _AsSpan:
    """What `translate_span_when_storing` needs of MLflow's `Span`."""

    def __init__(self, span: dict[str, Any]) -> None:
        self._span = span

    def to_dict(self) -> dict[str, Any]:
        return self._span


@lru_cache(maxsize=4096)
def _relevant(keys: tuple[str, ...]) -> frozenset[str]:
    """The translators (by class name) of which a span with these attribute keys has one."""
    present = frozenset(keys)
    names = {type(translator).__name__ for translator, asked in _KEYS if not asked.isdisjoint(present)}
    names |= {name for name, prefixes in PREFIXES.items() if any(key.startswith(prefixes) for key in keys)}
    return frozenset(names)


@lru_cache(maxsize=256)
def _translation(names: frozenset[str]) -> Any:
    """`translate_span_when_storing` with only these translators: MLflow's functions, over other module globals."""
    globals_ = dict(vars(translation))
    for name in ("_TRANSLATORS", "_EVENT_TRANSLATORS"):
        globals_[name] = [translator for translator in globals_[name] if type(translator).__name__ in names]
    for name, value in vars(translation).items():
        if isinstance(value, FunctionType) and value.__module__ == translation.__name__:
            clone = FunctionType(value.__code__, globals_, name, value.__defaults__, value.__closure__)
            clone.__kwdefaults__ = value.__kwdefaults__
            globals_[name] = clone
    # The same, value for value, without decoding each of them twice: half of the time on an LLM span otherwise.
    globals_["sanitize_attributes"] = sanitized_attributes
    return globals_["translate_span_when_storing"]
