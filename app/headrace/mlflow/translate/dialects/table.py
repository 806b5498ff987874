"""What a dialect's table says, as values. No I/O.

A rule says where one target's value is found: `inputs` in the attribute `acme.question`, for example. docs/frameworks.md
describes the tables' format, `read.py` reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

TARGETS: Mapping[str, str] = {
    "type": "the span's type in MLflow, which chooses its icon",
    "inputs": "the span's inputs",
    "outputs": "the span's outputs",
    "input_messages": "messages that were sent to a model: the inputs as a chat",
    "output_messages": "messages with which the model answered: the outputs as a chat",
    "tools": "definitions of the tools that the model may call",
    "model": "the model's name",
    "provider": "the model's provider",
    "input_tokens": "tokens sent, those of a cache included",
    "output_tokens": "tokens answered, those of the reasoning included",
    "total_tokens": "tokens in all; else the sum of those sent and answered",
    "cache_read_tokens": "of the tokens sent, those read from a cache",
    "cache_creation_tokens": "of the tokens sent, those written to a cache",
    "reasoning_tokens": "of the tokens answered, those of the reasoning",
    "input_cost": "what the tokens sent cost, in US dollars",
    "output_cost": "what the tokens answered cost",
    "total_cost": "what the call cost; else the sum of the two",
    "session": "the trace's session",
    "user": "the trace's user",
    "trace_name": "the trace's name, if the span is its root",
    "tags": "a tag of the trace, if the span is its root",
}
"""What a rule may say → what that is."""

TOKENS: Mapping[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
"""Targets → MLflow's keys of a token usage. The last is ours: MLflow has none for it."""
COSTS = ("input_cost", "output_cost", "total_cost")
"""Targets that are MLflow's keys of a cost."""
FIGURES = frozenset({*TOKENS, *COSTS})
LISTS = ("input_messages", "output_messages", "inputs", "outputs", "tools")
"""Targets that may be flattened: `llm.tools.*`."""

TYPES = (
    *(
        "AGENT",
        "CHAIN",
        "CHAT_MODEL",
        "EMBEDDING",
        "EVALUATOR",
        "GUARDRAIL",
        "LLM",
        "MEMORY",
        "PARSER",
        "RERANKER",
        "RETRIEVER",
    ),
    *("TASK", "TOOL", "WORKFLOW"),
)
"""MLflow's types of spans, but for UNKNOWN, which a rule need not say."""

SPAN_NAME = "$name"
"""In place of an attribute's key: the span's name."""
EVENT = "$event."
"""What an attribute's key begins with, if it is that of a span event: `$event.` + the event's name + `.` + the key."""
BESIDE_ATTRIBUTES = "$"
"""What keys begin with that stand for something beside the span's attributes. Such a rule needs `when` or `scope`."""
SCOPE = "$scope"
"""In place of an attribute's key, in a condition: the name of the span's instrumentation scope."""


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute that must be there, with one of these values where some are named (`*` stands for anything)."""

    key: str
    values: tuple[str, ...] = ()

    def holds(self, value: Any) -> bool:
        """Whether it does for this value. None: the attribute is not there."""
        return value is not None and (not self.values or any(fnmatchcase(str(value), known) for known in self.values))


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a value of a target is found. Of the rules for one target the first one that finds something counts."""

    dialect: str
    target: str
    key: str
    """The attribute; or what flattened attributes begin with, `llm.tools.`; or `SPAN_NAME`."""
    path: tuple[str, ...] = ()
    """The way to the value inside the attribute's JSON: names, and numbers in lists. `-1` is the last, `*` all."""
    flattened: bool = False
    forms: tuple[str, ...] = ()
    """The names of the functions of `forms.py` through which the attribute's value goes, before the path is followed."""
    mapping: Mapping[str, str] | None = None
    """What the attribute may say → the target's value. `*` stands for anything; the first that fits counts."""
    constant: str | None = None
    """The target's value wherever the attribute is there."""
    replaces: bool = False
    """It takes the place of what MLflow's own translators have found, too. Never of what the client sent."""
    where: tuple[Condition, ...] = ()
    """All of them must hold."""
    tag: str = ""
    """The name of the tag, if the target is `tags`."""

    @property
    def source(self) -> str:
        """As the table writes it."""
        return f"{self.key}{'*' if self.flattened else ''}{' > ' + '.'.join(self.path) if self.path else ''}"

    @property
    def is_as_sent(self) -> bool:
        """Whether the target's value is what the attribute says, and nothing made of it."""
        return not (self.path or self.forms or self.flattened or self.mapping or self.constant)

    def mapped(self, value: Any) -> Any:
        """The target's value; None where the table has none for this one."""
        if self.constant is not None:
            return self.constant
        if self.mapping is None:
            return value
        text = str(value)
        if (known := self.mapping.get(text)) is not None:
            return known
        return next((to for pattern, to in self.mapping.items() if "*" in pattern and fnmatchcase(text, pattern)), None)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one framework says, and how."""

    name: str
    about: str
    file: str
    rules: tuple[Rule, ...]
    when: tuple[Condition, ...] = ()
    """One of them must hold for any of the rules to count. None: whatever attributes the rules name suffice."""
    scopes: tuple[str, ...] = ()
    """The names of the instrumentation scopes whose spans it reads, with `*`. None: all."""

    def takes(self, scope: str) -> bool:
        """Whether it reads spans of this scope."""
        return not self.scopes or any(fnmatchcase(scope, known) for known in self.scopes)
