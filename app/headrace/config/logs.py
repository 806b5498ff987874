"""Log records that belong to a span: which of them are kept, how many, and how long they wait for their span."""

from typing import Literal

from pydantic import BaseModel, Field

from headrace.config.values import MIB

SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21, "none": 25}
"""The names of OpenTelemetry's severities → the lowest number of each. `none`: more than any."""
_OTHER_NAMES = {"notice": 9, "informational": 9, "information": 9, "warning": 13, "err": 17, "critical": 21, "emergency": 21}


def severity_of(text: str) -> int:
    """The lowest number of a severity, by a name that loggers give it: `DEBUG`, `warn2`, `Critical`. 0: it is none."""
    name = text.strip().lower().rstrip("1234")
    return 0 if name == "none" else SEVERITIES.get(name) or _OTHER_NAMES.get(name, 0)


class Logs(BaseModel):
    """What is made of log records. With `HEADRACE_ENRICH=false` they are refused, and the answer says why."""

    logs_severity: Literal["trace", "debug", "info", "warn", "error", "fatal", "none"] = Field(
        "info",
        description="Least severe log records that become events of their span. `none`: none do. Records with GenAI content "
        "and exceptions are always kept, and, but for `none`, records that do not say how severe they are.",
    )
    max_logs_per_span: int = Field(
        256,
        ge=1,
        description="Most log records that one span keeps: those with GenAI content first, then the earliest.",
    )
    max_log_bytes_per_span: int = Field(
        4 * MIB,
        ge=1024,
        le=64 * MIB,
        description="Most bytes of log records that one span keeps, in the same order.",
    )
    logs_wait_seconds: float = Field(
        21_600,
        gt=0,
        description="Seconds that a log record waits for its span. Set it longer than your longest spans take.",
    )
    logs_wait_max_bytes: int = Field(
        256 * MIB,
        ge=1024,
        description="Most bytes of log records that wait for their spans in Postgres. If there are more, the oldest are "
        "deleted.",
    )

    @property
    def least_severity(self) -> int:
        """The lowest severity number that is kept."""
        return SEVERITIES[self.logs_severity]
