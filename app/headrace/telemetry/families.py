"""How a metric is made: with which of its labels' values it starts, and how those of several processes become one."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

from prometheus_client import Counter, Gauge, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call] # it would be a second series for each counter

LABELS: dict[str, Mapping[str, Sequence[str]]] = {}
"""Metric with labels → label → its values, as far as they are known beforehand."""


def counter(name: str, meaning: str, **labels: Sequence[str]) -> Counter:
    """A counter that starts at 0 for all these values of its labels, so that an alert sees the first increase."""
    made = Counter(name, meaning, list(labels))
    if labels:
        LABELS[name] = labels
        for values in product(*labels.values()):
            made.labels(*values)
    return made


# Of several workers, the one that looked last is right: all look at the same Postgres, and at the queues of all.
gauge = partial(Gauge, multiprocess_mode="mostrecent")
