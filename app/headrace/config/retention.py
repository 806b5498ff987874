"""How long traces are kept."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.config.values import Rules

Spared = Literal["tagged", "assessed", "linked"]


class RetentionRule(BaseModel):
    """One rule of `HEADRACE_RETENTION`: which traces of an experiment go.

    A trace goes once it is older than `days`, and once there are `keep` newer ones in its experiment. Traces that `spare` names
    stay: those with the tag `headrace.keep`, those that somebody has assessed, those that are linked to a run or another thing
    of MLflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str = Field(default="*", min_length=1)
    """An id, a name in MLflow's workspace `default`, or `*`: each that no rule before names."""
    days: float | None = Field(default=None, gt=0)
    keep: int | None = Field(default=None, ge=0)
    spare: frozenset[Spared] = frozenset(("tagged", "assessed", "linked"))

    @model_validator(mode="after")
    def _says_something(self) -> "RetentionRule":
        if self.days is None and self.keep is None:
            raise ValueError("must have `days` or `keep`: else it deletes nothing")
        return self


class Retention(BaseModel):
    """Retention."""

    retention: Rules[RetentionRule] = Field(
        (),
        description="JSON list of rules that say which traces are deleted, looked at each hour. For each experiment the first "
        'that names it holds: `[{"experiment": "shop", "days": 30}, {"experiment": "*", "days": 90, "keep": 1000000}]`. '
        "`headrace retention` shows what they would delete. Unset: Headrace deletes no trace.",
    )
