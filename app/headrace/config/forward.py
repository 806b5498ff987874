"""Where metrics without an MLflow run are passed on to."""

from pydantic import BaseModel, Field, SecretStr, field_validator

from headrace.config.telemetry import header_pairs
from headrace.config.values import MIB, File, Secret, Text, otlp_url


class Forward(BaseModel):
    """Another OTLP endpoint for metrics, and how many may wait for it."""

    metrics_forward: Text = Field(
        None,
        description="OTLP/HTTP URL to which metrics without an MLflow run are passed on: "
        "`http://collector:4318/v1/metrics`. It must not lead back to this Headrace. Unset: they are refused, and "
        "the answer says why.",
    )
    metrics_forward_headers: Secret = Field(
        None,
        description="Headers for `HEADRACE_METRICS_FORWARD`, written as in `OTEL_EXPORTER_OTLP_HEADERS`: "
        "`authorization=Bearer%20…`. Nothing of the sender's own headers is passed on.",
    )
    metrics_forward_headers_file: File = Field(
        None,
        description="A file with headers for `HEADRACE_METRICS_FORWARD`, written alike, or one on each line. It is read before "
        "each export, so that a secret can be renewed. They win over `HEADRACE_METRICS_FORWARD_HEADERS`.",
    )
    metrics_forward_seconds: float = Field(
        21_600,
        gt=0,
        le=604_800,
        description="Seconds that metrics wait for `HEADRACE_METRICS_FORWARD` while it does not take them. Older ones are "
        "deleted.",
    )
    metrics_forward_max_bytes: int = Field(
        256 * MIB,
        ge=1024,
        description="Most bytes of metrics that wait for `HEADRACE_METRICS_FORWARD` in Postgres. If there are more, the oldest "
        "are deleted.",
    )

    @field_validator("metrics_forward", mode="after")
    @classmethod
    def _check_forward(cls, value: str | None) -> str | None:
        return otlp_url(value, "/v1/metrics", "HEADRACE_METRICS_FORWARD_HEADERS")

    @field_validator("metrics_forward_headers", mode="after")
    @classmethod
    def _check_forward_headers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            header_pairs(value.get_secret_value())
        return value
