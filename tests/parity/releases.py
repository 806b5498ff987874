"""The releases of MLflow that are oracles, and what MLflow itself has changed between them.

Headrace translates as the MLflow does that is installed with it, whichever tables it writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.version import VERSION

from parity.changes import CHANGES, REFUSED, Change
from parity.compare import Difference, unknown
from parity.values import Value, values_of


@dataclass(frozen=True, slots=True)
class Release:
    """One minor release, by its newest wheel."""

    version: str
    installs: str = ""
    """The release whose dependencies it takes, where its own cannot be had."""

    @property
    def minor(self) -> str:
        """Such as 3.17."""
        return minor_of(self.version)

    @property
    def changes(self) -> list[Change]:
        """What MLflow has changed between this release and the installed one."""
        one, other = sorted((_number(self.minor), _number(minor_of(VERSION))))
        return [change for change in CHANGES if not change.since or one < _number(change.since) <= other]

    @property
    def refuses(self) -> frozenset[str]:
        """The scenarios of which its own server does not take every request."""
        minor = _number(self.minor)
        return frozenset[str]().union(*(each.scenarios for each in REFUSED if _number(each.since) <= minor))


def minor_of(version: str) -> str:
    """3.17.2 → 3.17."""
    return version.rpartition(".")[0]


def _number(minor: str) -> tuple[int, ...]:
    return tuple(map(int, minor.split(".")))


RELEASES = (
    Release("3.14.0"),
    Release("3.15.2"),
    Release("3.16.1"),
    Release("3.17.2"),
    Release("3.18.0", installs="3.17.2"),
)


def unexplained(release: Release, found: Sequence[Difference], names: Mapping[str, str]) -> list[Difference]:
    """The differences that no change explains. `names`: trace id → scenario."""
    values = {one: values_of(one) for one in found}
    changed = {value.source for several in values.values() for value in several if value.attribute}
    return [
        one
        for one, several in values.items()
        if unknown([one.in_columns()], names) and not all(_explained(release, value, changed) for value in several)
    ]


def _explained(release: Release, value: Value, changed: set[tuple[str, str, str]]) -> bool:
    return value.follows(changed) or any(change.explains(value) for change in release.changes)
