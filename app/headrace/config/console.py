"""Where traces are shown."""

from pydantic import BaseModel, Field

from headrace.config.values import Port


class Console(BaseModel):
    """Addresses and ports of what only reads."""

    console_host: str = Field(
        "127.0.0.1",
        description="Address that `headrace console` listens on. It shows what is in traces: set `HEADRACE_API_KEYS` where "
        "others can reach it.",
    )
    jaeger_port: Port = Field(17271, description="Port of Jaeger's storage API (gRPC) that `headrace console` serves.")
