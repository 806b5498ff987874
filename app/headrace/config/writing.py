"""What is made of the spans in MLflow's tables, and how much of it is written at once."""

from pydantic import BaseModel, Field

from headrace.config.values import MIB


class Writing(BaseModel):
    """The way from the queue into Postgres."""

    enrich: bool = Field(
        True,
        description="Make plain OpenTelemetry traces readable in MLflow: span types, a trace name, previews, each span's kind, "
        "scope and service. `false`: exactly the rows that MLflow's own `/v1/traces` writes.",
    )
    finish_seconds: float = Field(
        600,
        ge=0,
        description="When to finish, with what is known of it, a trace of which no more spans come and no root span has come. "
        "A root that comes later has its say all the same. `0`, or `HEADRACE_ENRICH=false`: never, it stays in progress.",
    )
    origin_days: int = Field(
        30,
        ge=2,
        description="How many days a resource or scope is kept at least after its last span came. It is kept beyond that as "
        "long as any stored span has it, so it can go only after MLflow has deleted its traces.",
    )
    batch_max_bytes: int = Field(
        4 * MIB,
        ge=1024,
        description="Most bytes that the worker claims from the queue for one write (always at least one request). It takes "
        "what waits: little on a quiet day, so much when there is a backlog.",
    )
    max_write_bytes: int = Field(
        64 * MIB,
        ge=MIB,
        le=192 * MIB,
        description="Most bytes that one write to Postgres may have, as estimated before it is built. A larger batch is "
        "written in parts; a single span of more than four times as many becomes a dead letter.",
    )

    @property
    def finishes(self) -> bool:
        """Whether traces without a root span are finished after a while."""
        return self.enrich and self.finish_seconds > 0
