"""MLflow's own translation of LLM spans (twelve dialects → `mlflow.*` attributes), run only where a span asks for it.

A translator looks a handful of attribute keys up, and compares the names of events with a handful of names. Run on a span
without attributes and with one event, it shows which keys and names it asks for first: a span that has none of them takes the
same path through it, to the same answer, nothing. So keys and names are not listed here by hand but recorded from the
translators themselves when this module is imported (`asked.py`), and a span visits only those translators of which it has a
key or an event. The code that runs is MLflow's, function for function, with a shorter list of translators.

Source: mlflow/tracing/otel/translation/__init__.py, `translate_span_when_storing` (3.17).
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

from mlflow.tracing.otel import translation
from mlflow.tracing.utils import dump_span_attribute_value

from headrace.mlflow.json_text import JsonText, quote
from headrace.mlflow.keys import PREFIX, SPAN_INPUTS, SPAN_OUTPUTS
from headrace.mlflow.runtime import SHARED_JSON
from headrace.mlflow.translate.asked import Asked, record

PREFIXES = {"TraceloopTranslator": ("gen_ai.prompt.", "gen_ai.completion."), "LiveKitTranslator": ("lk.",)}
"""The two translators that walk over all keys look for these prefixes (a test holds them to it)."""

_ASKED: dict[str, Asked] = {
    type(translator).__name__: record(translator) for translator in (*translation._TRANSLATORS, *translation._EVENT_TRANSLATORS)
}
"""Translator (by class name) → what it asks of a span."""
_TRIGGERS: frozenset[str] = frozenset().union(*(asked.keys for asked in _ASKED.values()))
# Attributes of MLflow's own take part: a model is looked for in inputs, a cost made of tokens.
_ALL_PREFIXES = (PREFIX, *(prefix for prefixes in PREFIXES.values() for prefix in prefixes))


def _readers() -> Mapping[str, frozenset[str]]:
    """Name of an event → the translators that read such events."""
    names = frozenset().union(*(asked.events for asked in _ASKED.values()))
    return {name: frozenset(reader for reader, asked in _ASKED.items() if name in asked.events) for name in names}


_READERS = _readers()
_NOBODY: frozenset[str] = frozenset()


def reads_events(names: Iterable[str]) -> bool:
    """Whether any translator reads an event of these names, whatever the attributes of its span are."""
    return any(name in _READERS for name in names)


@lru_cache(maxsize=4096)
def asks(keys: tuple[str, ...]) -> bool:
    """Whether any translator has something to say to a span with these attribute keys."""
    return any(key in _TRIGGERS or key.startswith(_ALL_PREFIXES) for key in keys)


def translate(attributes: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """MLflow's `translate_span_when_storing`, for the attributes of a span that are sanitized already, and its events.

    It is given the attributes to keep: it may change them. Returns the span's attributes.
    """
    keys = tuple(attributes)
    if events and (readers := _NOBODY.union(*(_READERS.get(event["name"], _NOBODY) for event in events))):
        run = _translation(_relevant(keys) | readers)
    else:
        run = _translation_of(keys)
    translated: dict[str, Any] = run(_AsSpan(attributes, events))["attributes"]
    return translated


def shown(attributes: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    """The inputs and the outputs alone, as `translate` leaves them: what it takes to see what MLflow reads of a span's events.

    Whether its model, its tokens and its cost can be told is not asked.
    """
    names = _relevant(tuple(attributes)).union(*(_READERS.get(event["name"], _NOBODY) for event in events))
    globals_ = _translation(names).__globals__
    read = {SPAN_INPUTS: "_get_input_value", SPAN_OUTPUTS: "_get_output_value"}
    return {
        key: attributes[key] if key in attributes else globals_[function](attributes, events) for key, function in read.items()
    }


class _AsSpan:
    """What `translate_span_when_storing` needs of MLflow's `Span`."""

    def __init__(self, attributes: dict[str, Any], events: list[dict[str, Any]]) -> None:
        self._span = {"attributes": attributes, "events": events}

    def to_dict(self) -> dict[str, Any]:
        return self._span


@lru_cache(maxsize=4096)
def _relevant(keys: tuple[str, ...]) -> frozenset[str]:
    """The translators (by class name) of which a span with these attribute keys has one."""
    present = frozenset(keys)
    names = {name for name, asked in _ASKED.items() if not asked.keys.isdisjoint(present)}
    names |= {name for name, prefixes in PREFIXES.items() if any(key.startswith(prefixes) for key in keys)}
    return frozenset(names)


_METHODS = {
    name: frozenset(value.__code__.co_names) & next(iter(_ASKED.values())).by_method.keys()
    for name, value in vars(translation).items()
    if isinstance(value, FunctionType) and value.__module__ == translation.__name__
}
"""MLflow's functions → the methods of translators that they call."""


@lru_cache(maxsize=4096)
def _translation_of(keys: tuple[str, ...]) -> Any:
    """`translate_span_when_storing` for a span with these attribute keys, and without an event that a translator reads."""
    names, present = _relevant(keys), frozenset(keys)
    return _translation(
        names, tuple((function, _answering(methods, names, present)) for function, methods in _METHODS.items() if methods)
    )


def _answering(methods: frozenset[str], names: frozenset[str], present: frozenset[str]) -> frozenset[str]:
    """Those of the translators in which one of these methods asks for an attribute that is there, or that MLflow adds."""
    found = set()
    for name in names:
        asked = [_ASKED[name].by_method[method] for method in methods]
        if any(keys is None or keys & present or any(key.startswith(PREFIX) for key in keys) for keys in asked):
            found.add(name)
    return frozenset(found)


@lru_cache(maxsize=256)
def _translation(names: frozenset[str], narrowed: tuple[tuple[str, frozenset[str]], ...] = ()) -> Any:
    """`translate_span_when_storing` with only these translators: MLflow's functions, over other module globals.

    `narrowed`: functions of MLflow's that need even fewer of them.
    """
    globals_ = dict(vars(translation))
    for name in ("_TRANSLATORS", "_EVENT_TRANSLATORS"):
        globals_[name] = [translator for translator in globals_[name] if type(translator).__name__ in names]
    for name, value in vars(translation).items():
        if isinstance(value, FunctionType) and value.__module__ == translation.__name__:
            globals_[name] = _over(value, globals_)
    globals_["sanitize_attributes"] = _sanitized_already
    globals_["json"] = SHARED_JSON
    globals_["dump_span_attribute_value"] = _dump
    for name, few in narrowed:
        some = [translator for translator in globals_["_TRANSLATORS"] if type(translator).__name__ in few]
        globals_[name] = _over(globals_[name], globals_ | {"_TRANSLATORS": some})
    return globals_["translate_span_when_storing"]


def _over(function: FunctionType, globals_: dict[str, Any]) -> FunctionType:
    """The function, over other globals."""
    clone = FunctionType(function.__code__, globals_, function.__name__, function.__defaults__, function.__closure__)
    clone.__kwdefaults__ = function.__kwdefaults__
    return clone


def _sanitized_already(attributes: dict[str, Any]) -> dict[str, Any]:
    """In place of MLflow's `sanitize_attributes`: `content.inner` has done the same, value for value."""
    return attributes


def _dump(value: Any) -> str:
    """MLflow's `dump_span_attribute_value`, which makes an encoder for each value. Figures keep what they say: they are read
    again."""
    if type(value) is str:
        return quote(value)
    if type(value) is dict and all(map(_is_figure, value.values())):
        figures = ", ".join([f"{quote(key)}: {figure!r}" for key, figure in value.items()])
        return JsonText.of(f"{{{figures}}}", value)
    dumped: str = dump_span_attribute_value(value)
    return dumped


def _is_figure(value: Any) -> bool:
    """Whether its JSON is its `repr`."""
    return type(value) is int or (type(value) is float and math.isfinite(value))
