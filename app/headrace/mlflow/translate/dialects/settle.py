"""What the rules find becomes attributes of the span: those that MLflow itself makes out of the dialects that it knows. No I/O.

What the client sent stays: an attribute of MLflow's own that it sent, too. MLflow's translators have spoken before; what they
have found stays as well, but where a rule says that it `replaces` it, and where the rules know better by their nature:

- messages take the place of inputs and outputs of a model that are no chat which MLflow's UI draws;
- a token usage gets the figures that it lacks, and a total;
- a cost that the client states takes the place of one that is computed.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mlflow.tracing.utils import calculate_cost_by_model_and_token_usage

from headrace.mlflow.json_text import JsonText
from headrace.mlflow.keys import (
    COST,
    MODEL,
    PROVIDER,
    SPAN_INPUTS,
    SPAN_OUTPUTS,
    SPAN_TYPE,
    TAG_PREFIX,
    TOKEN_USAGE,
    TOOLS,
    TRACE_NAME,
)
from headrace.mlflow.text import to_object, unquoted
from headrace.mlflow.translate.content import dumps
from headrace.mlflow.translate.dialects.engine import Entry, Finding, find, loaded
from headrace.mlflow.translate.dialects.messages import as_inputs, as_outputs, is_chat
from headrace.mlflow.translate.dialects.table import COSTS, TOKENS, Rule
from headrace.mlflow.translate.dialects.tools import definitions

SESSION, CONVERSATION, USER = "session.id", "gen_ai.conversation.id", "user.id"
_TEXTS = {"model": MODEL, "provider": PROVIDER, "session": SESSION, "user": USER}
"""Targets that are a short text → their attribute."""
_MESSAGES = {"input_messages": (SPAN_INPUTS, as_inputs), "output_messages": (SPAN_OUTPUTS, as_outputs)}
_VALUES = {"inputs": SPAN_INPUTS, "outputs": SPAN_OUTPUTS}
_NAMES_MODEL, _SAYS_KIND = "gen_ai.request.model", "openinference.span.kind"
_UNKNOWN = ("UNKNOWN", "null", "")
_MODELS = frozenset({"LLM", "CHAT_MODEL"})
_CALLS = _MODELS | {"EMBEDDING", "RERANKER", ""}
"""Types of spans that are one call of a model, whose cost can be computed. Without a type it may be one."""
_MAX_FIGURE = 2**63 - 1


class Reading:
    """The attributes of one span while rules read it."""

    def __init__(self, sent: Mapping[str, Any], attributes: dict[str, Any], is_root: bool) -> None:
        """`sent`: the attributes as they came. `attributes`: as MLflow's translation leaves them; it changes these."""
        self._sent, self._attributes, self._is_root = sent, attributes, is_root
        self._found: dict[str, Any] = {}
        self._tags: set[str] = set()
        self.used: list[Finding] = []
        """The findings that have become attributes."""

    def read(self, entries: Iterable[Entry], name: str) -> None:
        """Changes the attributes as the rules say. `name`: the span's."""
        before = {key: self._attributes.get(key) for key in (MODEL, PROVIDER, TOKEN_USAGE)}
        for finding in find(entries, self._attributes, name, self.open):
            if self._take(finding):
                self.used.append(finding)
        self._settle_usage()
        self._settle_cost(any(self._attributes.get(key) != value for key, value in before.items()))

    def open(self, rule: Rule) -> bool:
        """Whether the rule can still say something of this span."""
        target = rule.target
        if target in TOKENS or target in COSTS:
            return target not in self._found
        if target in ("trace_name", "tags"):
            key = f"{TAG_PREFIX}{rule.tag or TRACE_NAME}"
            return self._is_root and key not in self._attributes
        if target == "type":
            return "type" not in self._found and self._awaits_type(rule)
        if target in _MESSAGES:
            return self._awaits_messages(target)
        if target in ("session", "user"):
            known = (SESSION, CONVERSATION) if target == "session" else (USER,)
            return not any(key in self._attributes for key in known)
        key = _VALUES.get(target) or _TEXTS.get(target) or TOOLS
        return key not in self._attributes or (rule.replaces and key not in self._sent and target not in self._found)

    def _awaits_type(self, rule: Rule) -> bool:
        if self._type in _UNKNOWN:
            return True
        if SPAN_TYPE in self._sent:
            return False
        # MLflow takes whatever names a model for an LLM, a workflow, too, where nothing else tells it the type.
        guessed = self._type == "LLM" and _NAMES_MODEL in self._attributes and _SAYS_KIND not in self._attributes
        return rule.replaces or guessed

    @property
    def _type(self) -> str:
        return unquoted(self._attributes.get(SPAN_TYPE, ""))

    def _awaits_messages(self, target: str) -> bool:
        key, _ = _MESSAGES[target]
        if key in self._sent or target in self._found:
            return False
        there = self._attributes.get(key)
        return there is None or (self._type in _MODELS and not is_chat(loaded(there)))

    def _take(self, finding: Finding) -> bool:
        """Whether it has become an attribute, or a figure of one."""
        rule, value = finding
        target = rule.target
        if target in TOKENS or target in COSTS:
            figure = count(value) if target in TOKENS else amount(value)
            if figure is None:
                return False
            self._found[target] = figure
            return True
        dumped = self._dumped(rule, value)
        if dumped is None:
            return False
        self._found[target] = True
        key = self.key(rule)
        if loaded(self._attributes.get(key)) == value_of(dumped):
            return False
        self._attributes[key] = dumped
        return True

    @staticmethod
    def key(rule: Rule) -> str:
        """The attribute that the rule speaks of."""
        target = rule.target
        if target in TOKENS or target in COSTS:
            return TOKEN_USAGE if target in TOKENS else COST
        if target in _MESSAGES:
            return _MESSAGES[target][0]
        if target in ("trace_name", "tags"):
            return f"{TAG_PREFIX}{rule.tag or TRACE_NAME}"
        if target == "type":
            return SPAN_TYPE
        return _VALUES.get(target) or _TEXTS.get(target) or TOOLS

    def _dumped(self, rule: Rule, value: Any) -> str | None:
        """The attribute's JSON."""
        if rule.target in _MESSAGES:
            value = _MESSAGES[rule.target][1](value) if isinstance(value, list) else None
        elif rule.target == "tools":
            value = definitions(value)
        elif rule.target not in _VALUES:
            value = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
        elif not (rule.path or rule.forms or rule.flattened or rule.mapping or rule.constant):
            return str(self._attributes[rule.key])  # its JSON is there already
        return None if value is None else _json(value)

    def _settle_usage(self) -> None:
        """The token usage, with what the rules have found of it, and a total."""
        if TOKEN_USAGE in self._sent:
            return
        there = to_object(self._attributes.get(TOKEN_USAGE)) or {}
        found = {TOKENS[target]: figure for target, figure in self._found.items() if target in TOKENS}
        usage = {key: figure for key in TOKENS.values() if (figure := there.get(key, found.get(key))) is not None}
        known = [usage[key] for key in ("input_tokens", "output_tokens") if key in usage]
        if not known and "total_tokens" not in usage:
            return
        usage["total_tokens"] = max(found.get("total_tokens") or usage.get("total_tokens") or 0, sum(known))
        usage = there | usage
        if usage != there:
            self._attributes[TOKEN_USAGE] = _json(usage)

    def _settle_cost(self, changed: bool) -> None:
        """The cost that the client states, or else the one that its tokens make, if rules have found any of what it takes."""
        if COST in self._sent:
            return
        if changed and (COST in self._attributes or self._type in _CALLS):
            self._compute_cost()
        if stated := {key: self._found[key] for key in COSTS if key in self._found}:
            total = stated.setdefault("total_cost", sum(stated.values()))
            computed = to_object(self._attributes.get(COST)) or {}
            if len(stated) == 1 and math.isclose(computed.get("total_cost", 0), total, rel_tol=1e-6):
                stated = computed | stated  # its two parts are known, too
            self._attributes[COST] = _json(stated)

    def _compute_cost(self) -> None:
        """As MLflow's translation does, with what is known now."""
        usage = to_object(self._attributes.get(TOKEN_USAGE))
        model, provider = (unquoted(self._attributes[key]) if key in self._attributes else None for key in (MODEL, PROVIDER))
        with suppress(Exception):  # whatever MLflow breaks on: then there is no cost
            if cost := calculate_cost_by_model_and_token_usage(model, usage, provider):
                self._attributes[COST] = _json(cost)


def count(value: Any) -> int | None:
    """A number of tokens: a whole number, in whatever way it is written. None: it is none."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = int(value) if value.strip().isdecimal() else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_FIGURE:
        return None
    return int(value)


def amount(value: Any) -> float | None:
    """A cost. A client that does not know it says 0."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 and math.isfinite(value)):
        return None
    return float(value)


def value_of(dumped: str) -> Any:
    """What an attribute's JSON says."""
    return dumped.value if type(dumped) is JsonText else loaded(dumped)


def _json(value: Any) -> str:
    return JsonText.of(dumps(value), value)
