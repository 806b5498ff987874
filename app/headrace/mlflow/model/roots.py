"""What spans say of their trace where its root decides (`fold/root_decides.py`). No I/O."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headrace.mlflow.text import smaller


class Precedence(NamedTuple):
    """How strongly a span decides its trace's experiment. The smallest wins: named, then a root's, then any span's."""

    rank: int
    start: int = 0
    span_id: str = ""


NAMED = Precedence(0)
"""A header, a resource attribute or MLflow's own client named the experiment. As in MLflow, the first that came counts."""
OF_A_ROOT, OF_ANOTHER = 1, 2
"""Ranks of spans whose experiment a rule or the default chose."""
NOBODY = Precedence(3)
"""Before the first span has come."""


class Root(NamedTuple):
    """What a root span says of its trace. Of several roots the earliest decides, by start, then by span id."""

    start: int
    span_id: str
    status: str
    inputs: Any
    outputs: Any
    name: str
    request_preview: str
    response_preview: str
    trace_name: str | None
    session_id: str | None
    user_id: str | None
    tags: dict[str, str]
    chosen_by_rule: bool
    """Whether a rule or the default chose its experiment."""
    says: str = ""
    """What it has to say for itself, and what it is besides: letters of `voices.py`."""

    @classmethod
    def that_decided(
        cls,
        *,
        start: int,
        span_id: str,
        session_id: str | None,
        user_id: str | None,
        tags: dict[str, str],
        chosen_by_rule: bool,
        says: str,
    ) -> "Root":
        """One whose name, status and previews stand in the trace's row already: nobody asks it for them again."""
        return cls(
            start=start,
            span_id=span_id,
            status="",
            inputs=None,
            outputs=None,
            name="",
            request_preview="",
            response_preview="",
            trace_name=None,
            session_id=session_id,
            user_id=user_id,
            tags=tags,
            chosen_by_rule=chosen_by_rule,
            says=says,
        )

    @property
    def order(self) -> tuple[int, str]:
        """The smallest decides."""
        return self.start, self.span_id

    @property
    def precedence(self) -> Precedence:
        """That of its experiment."""
        return Precedence(OF_A_ROOT, self.start, self.span_id) if self.chosen_by_rule else NAMED


def earliest(roots: dict[str, Root]) -> Root | None:
    """The root that decides, if there is one."""
    if len(roots) > 1:
        return min(roots.values(), key=lambda root: root.order)
    return next(iter(roots.values()), None)


@dataclass(slots=True)
class NonRootValues:
    """Tags, session and user from spans that do not decide. Where values differ the smallest wins, so that no order matters."""

    tags: dict[str, str] = field(default_factory=dict)
    session_id: str | None = None
    user_id: str | None = None

    def add(self, tags: dict[str, str], session_id: str | None, user_id: str | None) -> None:
        """Adds what one more span says, or several."""
        if not self.tags:
            self.tags = tags.copy()
        elif tags != self.tags:
            for key, value in tags.items():
                self.tags[key] = min(value, self.tags.get(key, value))
        if session_id or user_id:
            self.session_id = smaller(self.session_id, session_id)
            self.user_id = smaller(self.user_id, user_id)
