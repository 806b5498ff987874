"""What Headrace says of its own work: its log, and traces of itself."""

import re
from urllib.parse import unquote

from pydantic import BaseModel, Field, SecretStr, field_validator

from headrace.config.values import Secret, Text, otlp_url


class Telemetry(BaseModel):
    """The log and Headrace's own traces."""

    log_format: str = Field(
        "auto",
        pattern="^(auto|console|json)$",
        description="`console`, `json`, or `auto`: console if stderr is a terminal, else JSON.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level that is logged.")
    traces_endpoint: Text = Field(
        None,
        description="OTLP/HTTP URL to which Headrace sends traces of its own work: "
        "`http://collector:4318/v1/traces`. It must not be this Headrace itself. Unset: none are sent.",
    )
    traces_headers: Secret = Field(
        None,
        description="Headers for `HEADRACE_TRACES_ENDPOINT`, written as in `OTEL_EXPORTER_OTLP_HEADERS`: "
        "`x-mlflow-experiment-id=0,authorization=Bearer%20…`.",
    )
    traces_sample_ratio: float = Field(
        0.01, ge=0, le=1, description="Share of the requests that is traced, chosen at random: from 0, none, to 1, all."
    )

    @field_validator("traces_endpoint", mode="after")
    @classmethod
    def _check_traces_endpoint(cls, value: str | None) -> str | None:
        return otlp_url(value, "/v1/traces", "HEADRACE_TRACES_HEADERS")

    @field_validator("traces_headers", mode="after")
    @classmethod
    def _check_traces_headers(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            header_pairs(value.get_secret_value())
        return value


def header_pairs(text: str) -> dict[str, str]:
    """`a=1,b=x%20y` → headers, percent-decoded, as OpenTelemetry's SDKs read theirs.

    Raises:
        ValueError: it is none such; never repeats the text, which may hold a key.
    """
    headers = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, value = (unquote(each).strip() for each in part.partition("="))
        if not (equals and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) and value.isascii() and value.isprintable()):
            raise ValueError("must be `name=value` pairs, separated by commas, with values percent-encoded")
        headers[name.lower()] = value
    return headers
