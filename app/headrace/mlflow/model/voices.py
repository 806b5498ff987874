"""Which spans speak for a root that has no inputs or outputs of its own, kept so that spans can be added. No I/O.

Of a span with inputs and of those below it only the upper one speaks; of several the one that began first. The same of outputs,
where the one speaks that ended last. It does not depend on the order in which spans come.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SPEAKERS = frozenset({"AGENT", "CHAIN", "WORKFLOW", "LLM", "CHAT_MODEL"})
"""Types of spans that speak for their root. A tool, a retriever or a plain span does not."""
ASKS, ANSWERS, FAILS = "i", "o", "e"
"""What a span has to say, in the note beside its content: inputs, outputs, why it failed."""
TRANSPORT, MUTE = "t", "m"
"""What a root is besides: one that only carries an agent's work, as an HTTP request does; one that failed and says no word."""


class Voice(NamedTuple):
    """A span that speaks, with its times in nanoseconds."""

    start: int
    end: int
    asks: bool
    answers: bool


Turn = tuple[int, int, str]
"""A span's place among those that would speak, and its id at last: the smallest speaks."""


def asking(span_id: str, voice: Voice | None) -> Turn | None:
    """Its turn to say what was asked. None: it has no inputs."""
    return (voice.start, 0, span_id) if voice is not None and voice.asks else None


def answering(span_id: str, voice: Voice | None) -> Turn | None:
    """Its turn to say what was answered. None: it has no outputs."""
    return (-voice.end, -voice.start, span_id) if voice is not None and voice.answers else None


@dataclass(slots=True)
class Choice:
    """Who speaks, of the spans that have no speaker above them."""

    seen: bool = False
    """Whether any span would speak."""
    by_parent: dict[str, Turn] = field(default_factory=dict)
    """Below each parent that is not there (yet); below "": below spans without a parent."""

    def add(self, parent_id: str, turn: Turn, _sign: int = 1) -> None:
        """Adds one below a parent that is not there."""
        self.by_parent[parent_id] = min(turn, self.by_parent.get(parent_id, turn))

    def best(self) -> str:
        """The id of the span that speaks. Empty: none does."""
        return min(self.by_parent.values())[2] if self.by_parent else ""


@dataclass(slots=True)
class Voices:
    """Who asks and who answers."""

    asking: Choice = field(default_factory=Choice)
    answering: Choice = field(default_factory=Choice)

    def dumped(self) -> list[Any]:
        """As JSON has it, for `loaded`."""
        return [[choice.seen, choice.by_parent] for choice in (self.asking, self.answering)]

    @classmethod
    def loaded(cls, dumped: Iterable[Any]) -> "Voices":
        """What `dumped` gave."""
        return cls(*(Choice(seen, {parent: tuple(turn) for parent, turn in turns.items()}) for seen, turns in dumped))


class Spoken(NamedTuple):
    """Whose words stand in a trace's row in place of its root's: ids of spans, empty where the root's own do."""

    asked: str = ""
    answered: str = ""
    failed: str = ""
    """The one that says why the root failed."""
    failure: tuple[int, str] | None = None
    """The failed span that ended last, of those that say why: its end, negative, and its id, empty if there is none.
    None: nobody has looked."""
