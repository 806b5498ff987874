"""To which experiments a sender is limited. It travels in the envelope, so that it holds wherever the data goes. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from headrace.envelope import envelope_pb2 as pb

MAX_ID = 2**31 - 1
"""The highest id of an experiment: `experiments.experiment_id` is an int4."""
MAX_ID_DIGITS = 100
"""With zeros in front. int() refuses thousands."""
_MOST_NAMED = 10
"""Of a key's experiments, in what its user is told."""


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
        """The inverse of `from_message`. The same limit gives the same bytes, by which a dead letter is known again."""
        return pb.Limit(experiment_ids=sorted(self.ids), experiment_names=sorted(self.names))

    def covers(self, own: int, experiment: int, name: str | None) -> bool:
        """Whether what stands in `experiment`, which has this name in the workspace `default`, may be changed by a request that
        goes to the experiment `own`. That was allowed when the request came, or is what an operator replays it into."""
        return experiment == own or experiment in self.ids or name in self.names

    def __str__(self) -> str:
        named = [*map(str, sorted(self.ids)), *sorted(self.names)]
        return ", ".join(named[:_MOST_NAMED]) + (", …" if len(named) > _MOST_NAMED else "")


def is_id(experiment: str) -> bool:
    """Whether a key's experiment is given by its id: it has digits only."""
    return experiment.isascii() and experiment.isdigit()


@lru_cache(maxsize=1024)
def _of(experiments: tuple[str, ...]) -> Limit | None:
    """Cached, as a key comes with each of its requests."""
    if not experiments:
        return None
    numbers = {int(text) for text in experiments if is_id(text) and len(text) <= MAX_ID_DIGITS}
    names = frozenset(text for text in experiments if not is_id(text))
    return Limit(frozenset(number for number in numbers if number <= MAX_ID), names)
