"""What the rules find becomes attributes of the span: those that MLflow itself makes out of the dialects that it knows. No I/O.

What the client sent stays: an attribute of MLflow's own that it sent, too. MLflow's translators have spoken before; what they
have found stays as well, but where a rule says that it `replaces` it, and where the rules know better by their nature:

- messages take the place of inputs and outputs of a model that are no chat which MLflow's UI draws;
- a token usage gets the figures that it lacks, and a total;
- a cost that the client states takes the place of one that is computed.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import JsonText, dumps, quote
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
from headrace.mlflow.text import Repairs, to_object, unquoted
from headrace.mlflow.translate.content import NO_PARENT
from headrace.mlflow.translate.dialects.engine import Entry, Finding, find, loaded
from headrace.mlflow.translate.dialects.figures import CALLS, PRICED, amount, as_json, computed_cost, count, with_total
from headrace.mlflow.translate.dialects.messages import as_inputs, as_outputs, count_messages, is_chat
from headrace.mlflow.translate.dialects.table import COSTS, FIGURES, TOKENS, Rule
from headrace.mlflow.translate.dialects.tools import definitions, tools_as_sent

SESSION, CONVERSATION, USER = "session.id", "gen_ai.conversation.id", "user.id"
_KEYS = {
    "type": SPAN_TYPE,
    "inputs": SPAN_INPUTS,
    "input_messages": SPAN_INPUTS,
    "outputs": SPAN_OUTPUTS,
    "output_messages": SPAN_OUTPUTS,
    "tools": TOOLS,
    "model": MODEL,
    "provider": PROVIDER,
    "session": SESSION,
    "user": USER,
    "trace_name": f"{TAG_PREFIX}{TRACE_NAME}",
    **dict.fromkeys(TOKENS, TOKEN_USAGE),
    **dict.fromkeys(COSTS, COST),
}
"""Targets, but for tags → their attribute."""
_MESSAGES = {"input_messages": as_inputs, "output_messages": as_outputs}
_VALUES = ("inputs", "outputs")
_OTHER = {"inputs": "input_messages", "outputs": "output_messages", "input_messages": "inputs", "output_messages": "outputs"}
"""Targets → those that become the same attribute: the rule that comes first counts."""
_OF_ROOTS = ("trace_name", "tags")
_NAMES_MODEL, _SAYS_KIND = "gen_ai.request.model", "openinference.span.kind"
_UNKNOWN = ("UNKNOWN", "null", "")
_MODELS = frozenset({"LLM", "CHAT_MODEL"})


class Reading:
    """The attributes of one span while rules read it."""

    __slots__ = ("_attributes", "_figures", "_is_root", "_said", "_sent", "_type", "used")

    def __init__(self, sent: Mapping[str, Any], attributes: dict[str, Any], is_root: bool) -> None:
        """`sent`: the attributes as they came. `attributes`: as MLflow's translation leaves them; it changes these."""
        self._sent, self._attributes, self._is_root = sent, attributes, is_root
        self._figures: dict[str, int | float] = {}
        """Tokens and costs that rules have found, by target."""
        self._said: set[str] = set()
        """The other targets of which rules have spoken; tags by their key."""
        self._type = unquoted(attributes.get(SPAN_TYPE, ""))
        self.used: list[Finding] = []
        """The findings that have become attributes."""

    def read(self, entries: Iterable[Entry], span: Span) -> None:
        """Changes the attributes as the rules say."""
        attributes = self._attributes
        model, provider = attributes.get(MODEL), attributes.get(PROVIDER)
        for finding in find(entries, attributes, span, self.open):
            if self._take(finding):
                self.used.append(finding)
        changed = self._settle_usage()
        self._settle_cost(changed or attributes.get(MODEL) != model or attributes.get(PROVIDER) != provider)

    def open(self, rule: Rule) -> bool:
        """Whether the rule can still say something of this span."""
        target = rule.target
        if target in FIGURES:
            return target not in self._figures
        if target in self._said or _OTHER.get(target) in self._said:
            return False
        if target == "type":
            return self._awaits_type(rule)
        key = self.key(rule)
        if key in self._attributes:
            return key not in self._sent and self._is_better(rule, key)
        return (target not in _OF_ROOTS or self._is_root) and (target != "session" or CONVERSATION not in self._attributes)

    def _is_better(self, rule: Rule, key: str) -> bool:
        """Whether the rule may take the place of what MLflow's translators, or rules before it, have found."""
        if rule.target in _MESSAGES:
            return self._type in _MODELS and not is_chat(loaded(self._attributes[key]))
        return rule.replaces

    def _awaits_type(self, rule: Rule) -> bool:
        if self._type in _UNKNOWN:
            return True
        if SPAN_TYPE in self._sent:
            return False
        # MLflow takes whatever names a model for an LLM, a workflow, too, where nothing else tells it the type.
        guessed = self._type == "LLM" and _NAMES_MODEL in self._attributes and _SAYS_KIND not in self._attributes
        return rule.replaces or guessed

    @staticmethod
    def key(rule: Rule) -> str:
        """The attribute that the rule speaks of."""
        return _KEYS.get(rule.target) or f"{TAG_PREFIX}{rule.tag}"

    def _take(self, finding: Finding) -> bool:
        """Whether it has become an attribute, or a figure of one."""
        rule, value = finding
        target = rule.target
        if target in FIGURES:
            figure = count(value) if target in TOKENS else amount(value)
            if figure is not None:
                self._figures[target] = figure
            return figure is not None
        key = self.key(rule)
        if target in _MESSAGES and count_messages(loaded(self._attributes.get(key))) > count_messages(value):
            return False  # messages without a text are not flattened: what is there says more
        shared = tools_as_sent(rule, self._attributes) if target == "tools" else None
        value = _meant(target, value) if shared is None else shared.value
        if value is None:
            return False
        if target != "tags":
            self._said.add(target)
        if (there := self._attributes.get(key)) is not None and loaded(there) == value:
            return False
        if target == "type":
            self._type = value
        self._attributes[key] = self._dumped(rule, value) if shared is None else shared
        return True

    def _dumped(self, rule: Rule, value: Any) -> str:
        """The attribute's JSON."""
        if type(value) is str:
            return quote(value)
        if rule.target not in _VALUES or not rule.is_as_sent or rule.key not in self._attributes:
            return _json(value)
        return str(self._attributes[rule.key])  # its JSON is there already

    def _settle_usage(self) -> bool:
        """The token usage, with what the rules have found of it, and a total. Returns whether that may change the cost."""
        if TOKEN_USAGE in self._sent:
            return False
        stored = to_object(self._attributes.get(TOKEN_USAGE)) or {}
        found = {TOKENS[target]: figure for target, figure in self._figures.items() if target in TOKENS}
        usage = with_total(stored, found, TOKENS.values())
        if self._type == "EMBEDDING" and usage.keys() == {"total_tokens"}:  # it answers with none
            usage = {"input_tokens": usage["total_tokens"]} | usage
        if usage and usage != stored:
            self._attributes[TOKEN_USAGE] = as_json(usage)
        elif stored and not usage:
            del self._attributes[TOKEN_USAGE]
        return any(usage.get(key) != stored.get(key) for key in PRICED)

    def _settle_cost(self, changed: bool) -> None:
        """The cost that the client states, or else the one that its tokens make, if rules have found any of what it takes."""
        if COST in self._sent:
            return
        if changed and (COST in self._attributes or self._type in CALLS):
            self._compute_cost()
        if stated := {key: self._figures[key] for key in COSTS if key in self._figures}:
            total = stated.setdefault("total_cost", sum(stated.values()))
            computed = to_object(self._attributes.get(COST)) or {}
            if len(stated) == 1 and math.isclose(computed.get("total_cost", 0), total, rel_tol=1e-6):
                stated = computed | stated  # its two parts are known, too
            self._attributes[COST] = as_json(stated)

    def _compute_cost(self) -> None:
        """As MLflow's translation does, with what is known now."""
        usage = to_object(self._attributes.get(TOKEN_USAGE))
        model, provider = (unquoted(self._attributes[key]) if key in self._attributes else None for key in (MODEL, PROVIDER))
        if cost := computed_cost(model, usage, provider):
            self._attributes[COST] = as_json(cost)


def read_by(
    entries: Iterable[Entry], span: Span, sent: Mapping[str, Any], attributes: Mapping[str, Any], repaired: Repairs
) -> dict[str, Any]:
    """The attributes of a span with what the rules find. `sent`: as they came; `attributes`: as MLflow's translation left them.

    Where that fails it is counted in `repaired`, and the attributes stay as they are: a bad value costs its span no more.
    """
    more = dict(attributes)
    try:
        Reading(sent, more, is_root(span)).read(entries, span)
    except Exception:
        repaired["translation_failed"] += 1
        return dict(attributes)
    return more


def is_root(span: Span) -> bool:
    """Whether it has no parent."""
    return not span.parent_span_id or span.parent_span_id == NO_PARENT


def _meant(target: str, value: Any) -> Any:
    """A rule's value in the form that the target has. None: it cannot have it."""
    if target in _VALUES:
        return value
    if target in _MESSAGES:
        return _MESSAGES[target](value) if isinstance(value, list) else None
    if target == "tools":
        return definitions(value)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _json(value: Any) -> str:
    return JsonText.of(dumps(value), value)
