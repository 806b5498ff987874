"""How data points become metrics of an MLflow run."""

from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode


class Metrics(BaseModel):
    """Names and steps."""

    metric_name: str = Field(
        "{name}{attributes}",
        min_length=1,
        description="Template of a metric's name in MLflow. `{name}`: its own name, with `.p99` and the like for a part of a "
        "histogram. `{attributes}`: `.key:value` for each attribute of the data point that the template does not name itself. "
        "`{scope}`: the instrumentation's name. `{service.name}`: an attribute of the data point or its resource.",
    )
    metric_steps: Annotated[tuple[str, ...], NoDecode] = Field(
        ("mlflow.step", "step", "global_step", "epoch"),
        description="Attributes of a data point that say the step, separated by commas. The first that is a whole number is "
        "it; without one it is 0. None of them is part of a name.",
    )

    @field_validator("metric_steps", mode="before")
    @classmethod
    def _split_steps(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
