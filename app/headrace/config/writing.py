"""What is made of the spans in MLflow's tables, and how much of it is written at once."""

from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from headrace.config.values import MIB


class Writing(BaseModel):
    """The way from the queue into Postgres."""

    enrich: bool = Field(
        True,
        description="Whether to make plain OpenTelemetry traces readable in MLflow: span types, a trace name, "
        "previews, each span's kind, scope and service. `false`: exactly the rows that MLflow's own "
        "`/v1/traces` writes.",
    )
    dialects: Path | None = Field(
        None,
        description="A YAML file of your own dialects: which attributes of your spans are inputs, outputs, messages, tools, "
        "tokens, costs, and more ([frameworks](frameworks.md#a-dialect-of-your-own)). They are asked before those that come "
        "with Headrace; one of the same name takes its place. Without effect if `HEADRACE_ENRICH=false`.",
    )
    finish_seconds: float = Field(
        600,
        ge=0,
        description="Seconds after its last span when a trace without a root span is finished with what is known of "
        "it. A root span that comes later still decides. `0`, or `HEADRACE_ENRICH=false`: such a trace "
        "stays in progress.",
    )
    origin_days: int = Field(
        30,
        ge=2,
        description="How many days a resource or scope is kept at least after its last span came. It is kept beyond that as "
        "long as any stored span has it, so it can go only after MLflow has deleted its traces.",
    )
    index: bool = Field(
        True,
        description="Whether to keep the index by which traces are found. `false`: what is written from then on is missing in "
        "the services, operations and dependencies of `headrace console`, and a search that names a service does not find it. "
        "A trace is still found by its id, and by a search without a service.",
    )
    index_days: int = Field(
        90,
        ge=1,
        description="How many days the index keeps an operation after its last span, and the calls between services after "
        "their hour. What it keeps of a trace goes when MLflow has deleted the trace.",
    )
    batch_max_bytes: int = Field(
        4 * MIB,
        ge=1024,
        description="Most bytes that the worker claims from the queue for one write, and always at least one "
        "request. It does not wait for a batch to fill: it takes what is there.",
    )
    max_write_bytes: int = Field(
        64 * MIB,
        ge=MIB,
        le=192 * MIB,
        description="Most bytes of one write to Postgres, estimated before it is built. A larger batch is written in "
        "parts. A single span over four times the limit becomes a dead letter.",
    )

    @field_validator("dialects", mode="before")
    @classmethod
    def _no_file_is_unset(cls, value: object) -> object:
        return value or None

    @property
    def finishes(self) -> bool:
        """Whether traces without a root span are finished after a while."""
        return self.enrich and self.finish_seconds > 0
