"""The experiments that a sender is limited to. The limit is part of the envelope, so it also applies when the spans are written
or replayed later. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from headrace.envelope import envelope_pb2 as pb

MAX_ID = 2**31 - 1
"""The highest id of an experiment: `experiments.experiment_id` is an int4."""
MAX_ID_DIGITS = 100
"""The most digits of an id, with zeros in front. Python's int() refuses texts of thousands of digits."""
_MOST_NAMED = 10
"""The most experiments of a key that an error message names."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The experiments that an API key may change. An id is never taken for a name, nor a name for an id."""

    ids: frozenset[int]
    names: frozenset[str]
    """In MLflow's workspace `default`."""

    @classmethod
    def of(cls, experiments: Iterable[str]) -> "Limit | None":
        """The limit of a key with these experiments: digits alone are an id, all else is a name. None: there is no limit."""
        return _of(tuple(experiments))

    @classmethod
    def from_message(cls, envelope: pb.Envelope) -> "Limit | None":
        """The limit in an envelope. None: there is none."""
        if not envelope.HasField("limit"):
            return None
        return cls(frozenset(envelope.limit.experiment_ids), frozenset(envelope.limit.experiment_names))

    def to_message(self) -> pb.Limit:
        """The inverse of `from_message`. Equal limits give equal bytes: dead letters are compared by their bytes."""
        return pb.Limit(experiment_ids=sorted(self.ids), experiment_names=sorted(self.names))

    def covers(self, own: int, experiment: int, name: str | None) -> bool:
        """Whether a request may change the traces and runs of `experiment`, which has this `name` in the workspace `default`.
        `own` is the request's own destination. It is always allowed: it was checked when the request came, or an operator chose
        it for a replay."""
        return experiment == own or experiment in self.ids or name in self.names

    def __str__(self) -> str:
        named = [*map(str, sorted(self.ids)), *sorted(self.names)]
        return ", ".join(named[:_MOST_NAMED]) + (", …" if len(named) > _MOST_NAMED else "")


def is_id(experiment: str) -> bool:
    """Whether a key names its experiment by id, that is, with digits only."""
    return experiment.isascii() and experiment.isdigit()


@lru_cache(maxsize=1024)
def _of(experiments: tuple[str, ...]) -> Limit | None:
    """Cached, because each request with the same key asks again."""
    if not experiments:
        return None
    numbers = {int(text) for text in experiments if is_id(text) and len(text) <= MAX_ID_DIGITS}
    names = frozenset(text for text in experiments if not is_id(text))
    return Limit(frozenset(number for number in numbers if number <= MAX_ID), names)
