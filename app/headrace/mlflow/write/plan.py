"""What is to be written of a batch to the index, and how calls are counted. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HOUR_NS = 3_600_000_000_000

Id = tuple[str, str]
"""Trace id and span id, as MLflow has them."""
Edge = tuple[int, int, str, str]
"""Hour, experiment, caller, callee."""
Operation = tuple[int, str, str, int]
"""Experiment, service, name, kind. The name may be longer than what is stored."""
Call = tuple[str, int, int, bool]
"""The called service; start and duration in nanoseconds; whether it failed."""


@dataclass(slots=True)
class Plan:
    """What is to be written of a batch."""

    begins: dict[Id, int] = field(default_factory=dict)
    """By trace id and service, empty where spans have none: when the service's first span began."""
    operations: set[Operation] = field(default_factory=set)
    edges: dict[Edge, list[int]] = field(default_factory=dict)
    """Calls, errors, nanoseconds."""
    waiting: list[tuple[Any, ...]] = field(default_factory=list)
    """Calls whose caller has not come: trace, caller's span, span, and the call."""
    callers: dict[Id, tuple[int, str]] = field(default_factory=dict)
    """The spans of traces that were there before, for which calls may wait: experiment and service."""
    origins: dict[str, str] = field(default_factory=dict)
    """Origins of stored spans whose service is not stored yet: by digest, the service."""

    def begin(self, trace_id: str, services: Mapping[str, int]) -> None:
        """Notes when the first spans of a trace's services began."""
        for service, start in services.items():
            key = trace_id, service
            self.begins[key] = min(start, self.begins.get(key, start))

    def count(self, experiment_id: int, caller: str, call: Call) -> None:
        """Counts a call, unless one of the two has no service, or both are one."""
        callee, start, duration, error = call
        if caller and callee and caller != callee:
            figures = self.edges.setdefault((start // _HOUR_NS, experiment_id, caller, callee), [0, 0, 0])
            figures[0] += 1
            figures[1] += error
            figures[2] += duration

    def wait(self, trace_id: str, parent_id: str, span_id: str, call: Call) -> None:
        """Notes a call whose caller has not come."""
        self.waiting.append((trace_id, parent_id, span_id, *call))
