"""Where traces are shown."""

from pydantic import BaseModel, Field

from headrace.config.values import Port, Text


class Console(BaseModel):
    """Addresses and ports of what only reads."""

    console_host: str = Field(
        "127.0.0.1",
        description="Address that `headrace console` listens on. It shows what is in traces: set `HEADRACE_API_KEYS` where "
        "others can reach it.",
    )
    console_port: Port = Field(4319, description="Port of the console's web pages.")
    console_url: Text = Field(
        None, description="URL at which people reach the console, for links. Unset: `http://localhost:` and its port."
    )
    jaeger_port: Port = Field(17271, description="Port of Jaeger's storage API (gRPC) that `headrace console` serves.")
    receiver_url: Text = Field(
        None,
        description="URL at which the console asks the receiver for its numbers (`/metrics`, `/readyz`). Unset: "
        "`http://127.0.0.1:` and `HEADRACE_HTTP_PORT`.",
    )
    otlp_url: Text = Field(
        None,
        description="URL at which services reach OTLP/HTTP, for the lines to copy. Unset: `http://localhost:` and "
        "`HEADRACE_HTTP_PORT`.",
    )

    @property
    def console_link(self) -> str:
        """The URL of the console in links, without a slash at its end."""
        return (self.console_url or f"http://localhost:{self.console_port}").rstrip("/")
