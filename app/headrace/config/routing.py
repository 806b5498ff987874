"""Which experiment a span goes to, and how many experiments clients may make."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from headrace.config.values import Rules


class RouteRule(BaseModel):
    """One rule of `HEADRACE_ROUTES`: resource attributes that match these globs go to this experiment.

    `{"match": {"service.name": "checkout-*"}, "experiment": "shop"}`; all globs of one rule must match. The experiment
    is a name and may hold `{resource.attribute}` placeholders, as `HEADRACE_DEFAULT_EXPERIMENT` may.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: dict[str, str] = Field(min_length=1)
    experiment: str = Field(min_length=1)


class Routing(BaseModel):
    """Routes to experiments."""

    default_experiment: str | None = Field(
        None,
        description="Name of the experiment for spans that nothing else routes. It may be a template over resource "
        "attributes: `{service.name}`. If it is unset, a request with such spans is answered 400. `up` sets it to `Default`.",
    )
    routes: Rules[RouteRule] = Field(
        (),
        description="JSON list of rules over resource attributes, with globs. The first that matches wins: "
        '`[{"match": {"service.name": "shop-*"}, "experiment": "shop"}]`.',
    )
    create_experiments: bool = Field(
        True, description="Whether to create an experiment that is named and does not exist. An experiment id is never created."
    )
    max_new_experiments_per_request: int = Field(
        20,
        ge=1,
        description="Most experiments that one request may create. Spans for further ones are rejected in a `partial_success`.",
    )
    max_new_experiments_per_minute: int = Field(
        60,
        ge=1,
        description="Most experiments that all clients together may create in a minute. Over it: 429, UNAVAILABLE in "
        "gRPC. Spans that were accepted before wait for the next minute.",
    )
    max_experiments_per_request: int = Field(
        1000,
        ge=1,
        description="Most experiments that one request may name. Spans for further ones are rejected in a `partial_success`.",
    )
    experiment_cache_seconds: float = Field(
        60, gt=0, description="Seconds for which a looked-up experiment is trusted before Postgres is asked again."
    )

    @field_validator("default_experiment", mode="after")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None
