"""The engine of the dialects: which rules a span asks for, and what they find in it. No I/O.

Most spans have no attribute that a rule names. They are told by their keys alone, and the answer is remembered: with each
request come the same few lists of keys.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import loads
from headrace.mlflow.translate.dialects.forms import FORMS
from headrace.mlflow.translate.dialects.messages import from_flattened, nested, numbered
from headrace.mlflow.translate.dialects.table import BESIDE_ATTRIBUTES, EVENT, SCOPE, SPAN_NAME, Condition, Dialect, Rule
from headrace.otlp.attributes import to_python

_SAYS_NOTHING: tuple[Any, ...] = (None, "", [], {})
_MAX_SCOPE = 256
"""Characters of a scope's name that are told apart: the names are part of what is remembered."""


class Entry(NamedTuple):
    """A rule that counts in a span if its values are such."""

    rule: Rule
    all_of: tuple[Condition, ...] = ()
    """Conditions that must all hold: those that ask for values. Those that ask for keys alone hold already."""
    any_of: tuple[Condition, ...] = ()
    """Conditions of which one must hold, if there are any."""


class Finding(NamedTuple):
    """What a rule has found in a span."""

    rule: Rule
    value: Any


class Dialects:
    """The tables of some dialects, ready for use. The first rule that finds something for a target wins."""

    def __init__(self, tables: Iterable[Dialect]) -> None:
        self.tables = tuple(tables)
        rules = [(rule, table) for table in self.tables for rule in table.rules]
        # What else a rule may say depends on the span's type.
        self._rules = sorted(rules, key=lambda pair: pair[0].target != "type")
        self._by_key: defaultdict[str, list[int]] = defaultdict(list)
        self._by_prefix: defaultdict[str, list[int]] = defaultdict(list)
        for number, (rule, dialect) in enumerate(self._rules):
            self._index(number, rule, dialect)
        self._prefixes = tuple(self._by_prefix)
        self.wanted = lru_cache(maxsize=4096)(self._wanted)

    def _index(self, number: int, rule: Rule, dialect: Dialect) -> None:
        names = [f"{rule.key}*" if rule.flattened else rule.key]
        if rule.key.startswith(BESIDE_ATTRIBUTES):
            names = [condition.key for condition in dialect.when] or [SCOPE]
        for name in names:
            if name.endswith("*"):
                self._by_prefix[name[:-1]].append(number)
            else:
                self._by_key[name].append(number)

    def _wanted(self, keys: tuple[str, ...], scope: str) -> tuple[Entry, ...]:
        """The rules that may find something in a span with these attribute keys, of a scope of this name."""
        numbers = {number for key in (*keys, SCOPE) for number in self._by_key.get(key, ())}
        for key in keys:
            if key.startswith(self._prefixes):
                numbers.update(*(found for prefix, found in self._by_prefix.items() if key.startswith(prefix)))
        found = (_entry(*self._rules[number], keys, scope[:_MAX_SCOPE]) for number in sorted(numbers))
        return tuple(entry for entry in found if entry)


def _entry(rule: Rule, dialect: Dialect, keys: tuple[str, ...], scope: str) -> Entry | None:
    """The rule as it counts in a span with these keys; None: it does not."""
    when = [condition for condition in dialect.when if _is_there(condition, keys, scope)]
    if not dialect.takes(scope) or (dialect.when and not when):
        return None
    if not all(_is_there(condition, keys, scope) for condition in rule.where):
        return None
    certain = any(not condition.values or condition.key == SCOPE for condition in when)
    values = tuple(condition for condition in rule.where if condition.values and condition.key != SCOPE)
    return Entry(rule, values, () if certain else tuple(when))


def _is_there(condition: Condition, keys: tuple[str, ...], scope: str) -> bool:
    if condition.key == SCOPE:
        return condition.holds(scope)
    if condition.key.endswith("*"):
        return any(key.startswith(condition.key[:-1]) for key in keys)
    return condition.key in keys


def find(
    entries: Iterable[Entry], attributes: Mapping[str, Any], span: Span, open_: Callable[[Rule], bool]
) -> Iterator[Finding]:
    """What the rules find in a span, in their order.

    `attributes`: as MLflow stores them, dumped as JSON. `span`: has its name and its events. `open_`: whether anybody wants
    to know what the rule says; it is asked before the rule's attribute is read.
    """
    for rule, all_of, any_of in entries:
        if not open_(rule):
            continue
        if (all_of or any_of) and not _hold(all_of, any_of, attributes):
            continue
        if (value := _value(rule, attributes, span)) not in _SAYS_NOTHING:
            yield Finding(rule, value)


def loaded(dumped: Any) -> Any:
    """What a stored attribute says. It is to be read only. A text that is no JSON is itself."""
    try:
        return loads(dumped)
    except (ValueError, TypeError, RecursionError):
        return dumped


def _hold(all_of: tuple[Condition, ...], any_of: tuple[Condition, ...], attributes: Mapping[str, Any]) -> bool:
    """Whether the conditions hold that ask for values."""
    if not all(condition.holds(loaded(attributes.get(condition.key))) for condition in all_of):
        return False
    return not any_of or any(condition.holds(loaded(attributes.get(condition.key))) for condition in any_of)


def _value(rule: Rule, attributes: Mapping[str, Any], span: Span) -> Any:
    """What the rule's attribute says of its target."""
    if rule.flattened:
        return _list(rule, attributes)
    value = _beside(rule.key, span) if rule.key.startswith(BESIDE_ATTRIBUTES) else loaded(attributes.get(rule.key))
    for form in rule.forms:
        value = None if value is None else FORMS[form](value)
    if rule.path:
        value = _walk(value, rule.path)
    return value if value is None else rule.mapped(value)


def _beside(key: str, span: Span) -> Any:
    """The span's name; or, of a key `$event.NAME.KEY`, what the attribute KEY of the first event NAME that has it says."""
    if key == SPAN_NAME:
        return span.name
    for event in span.events:
        start = f"{EVENT}{event.name}."
        for pair in event.attributes if key.startswith(start) else ():
            if pair.key == key[len(start) :]:
                return loaded(to_python(pair.value))
    return None


def _list(rule: Rule, attributes: Mapping[str, Any]) -> list[Any]:
    """A list that is flattened into attributes."""
    start = len(rule.key)
    pairs = [(key[start:], loaded(dumped)) for key, dumped in attributes.items() if key.startswith(rule.key)]
    if rule.target in ("input_messages", "output_messages"):
        return list(from_flattened(pairs, "assistant" if rule.target == "output_messages" else "user"))
    return [_unwrapped(item) for item in numbered(nested(pairs))]


def _unwrapped(item: Any) -> Any:
    """`{"document": {…}}` → `{…}`."""
    if isinstance(item, dict) and len(item) == 1:
        (only,) = item.values()
        return only if isinstance(only, dict) else item
    return item


def _walk(value: Any, path: tuple[str, ...]) -> Any:
    """The value at the end of a path through JSON; None: there is none."""
    for number, step in enumerate(path):
        if step == "*" and isinstance(value, dict | list):
            below = [_walk(item, path[number + 1 :]) for item in (value.values() if isinstance(value, dict) else value)]
            return [item for item in below if item is not None]
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.lstrip("-").isdecimal() and len(step) < 8:
            value = value[int(step)] if -len(value) <= int(step) < len(value) else None
        else:
            return None
    return value
