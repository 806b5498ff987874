"""Which of the stored dead letters a command means."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, column, func, or_, table

LETTERS = table(
    "dead_letter",
    *map(column, ("id", "created_at", "received_at", "experiment_id", "experiment_name", "trace_id", "span_id", "key_name")),
    *map(column, ("user_agent", "reason", "envelope")),
    schema="headrace",
)
_C = LETTERS.c


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects the letters that meet all of these conditions. None and "" are no condition.

    `experiment` is an id or a name; `trace` is an id or its beginning. `reason` is a part of the reason's text, and `client` of
    the key's name or the user agent; upper and lower case are alike. `since` is the earliest time at which it became a dead
    letter. `newest` is the highest id.
    """

    ids: tuple[int, ...] | None = None
    experiment: str = ""
    trace: str = ""
    reason: str = ""
    since: datetime | None = None
    client: str = ""
    newest: int | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions of a WHERE clause. An empty list selects all letters."""
        trace = self.trace.lower().removeprefix("tr-")
        found: list[ColumnElement[bool]] = []
        if self.ids is not None:
            found.append(_C.id == func.any(list(self.ids)))
        if self.experiment:
            found.append(or_(_C.experiment_id == self.experiment, _C.experiment_name == self.experiment))
        if trace:
            found.append(_C.trace_id.startswith(trace, autoescape=True))
        if self.reason:
            found.append(_C.reason.icontains(self.reason, autoescape=True))
        if self.since is not None:
            found.append(_C.created_at >= self.since)
        if self.client:
            found.append(or_(*(c.icontains(self.client, autoescape=True) for c in (_C.key_name, _C.user_agent))))
        if self.newest is not None:
            found.append(_C.id <= self.newest)
        return found
