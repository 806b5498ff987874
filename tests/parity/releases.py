"""The releases of MLflow that are oracles, and what MLflow itself has changed since each of them.

Headrace translates as the MLflow does that is installed with it (3.17), whichever tables it writes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity.compare import Difference

Explains = Callable[[Difference], bool]


@dataclass(frozen=True, slots=True)
class Release:
    """One minor release, by its newest wheel."""

    version: str
    changes: Mapping[str, Explains] = field(default_factory=dict)
    """What MLflow has changed between it and the release that is installed, in words → whether that explains a difference."""
    installs: str = ""
    """The release whose dependencies it takes, where its own cannot be had."""

    @property
    def minor(self) -> str:
        """Such as 3.17."""
        return self.version.rpartition(".")[0]


def unexplained(release: Release, found: Sequence[Difference]) -> list[Difference]:
    """Those that no change explains."""
    return [one for one in found if not any(explains(one) for explains in release.changes.values())]


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _only_escaped(one: Difference) -> bool:
    return one.column == "content" and one.left != one.right and _parsed(one.left) == _parsed(one.right)


_UNESCAPED = {"3.17 stores text of spans as it is, and no longer as \\uXXXX": _only_escaped}

RELEASES = (
    Release("3.14.0", _UNESCAPED),
    Release("3.15.2", _UNESCAPED),
    Release("3.16.1", _UNESCAPED),
    Release("3.17.2"),
    Release("3.18.0", installs="3.17.2"),
)
