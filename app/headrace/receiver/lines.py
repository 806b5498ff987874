"""The lines to copy: how any OpenTelemetry SDK is pointed at Headrace. No I/O."""

from headrace.config import Config

KEY = "YOUR-KEY"
_HERE = ("127.0.0.1", "0.0.0.0", "::", "::1")
"""Addresses to listen on that nobody is told to send to."""


def otlp_url(config: Config, called: str = "") -> str:
    """Where services reach OTLP/HTTP, without a slash at its end. `called`: the name and port by which somebody reached it."""
    host = "localhost" if config.host in _HERE else f"[{config.host}]" if ":" in config.host else config.host
    scheme = "http" if config.tls_cert is None else "https"
    return (config.otlp_url or f"{scheme}://{called or f'{host}:{config.http_port}'}").rstrip("/")


def environment(endpoint: str, experiment: str, keyed: bool) -> str:
    """The three variables that every SDK reads. `keyed`: whether a key is asked for."""
    headers = f"x-mlflow-experiment-id={experiment}" + (f",authorization=Bearer%20{KEY}" if keyed else "")
    return (
        f"export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={endpoint}/v1/traces\n"
        f"export OTEL_EXPORTER_OTLP_TRACES_HEADERS={headers}\n"
        "export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"
    )
