"""Log records that belong to a span: which of them are kept, how many, and how long they wait for their span."""

from typing import Literal

from pydantic import BaseModel, Field

from headrace.config.values import MIB

SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21, "none": 25}
"""The names of OpenTelemetry's severities → the lowest number of each. `none`: more than any."""


class Logs(BaseModel):
    """What is made of log records. With `HEADRACE_ENRICH=false` they are refused, and the answer says why."""

    logs_severity: Literal["trace", "debug", "info", "warn", "error", "fatal", "none"] = Field(
        "info",
        description="Least severe log records that become events of their span. `none`: none do. Records with GenAI content, "
        "exceptions, and records that do not say how severe they are, are always kept.",
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
