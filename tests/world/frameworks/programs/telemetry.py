"""What all programs share: where their spans go. The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT."""

import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

MODELS = os.environ["MODELS_URL"]
INSTRUCTIONS = "You are a helpful assistant."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR4nGP4f8IGK2IYWhIAf3aAwTlNt10AAAAASUVORK5CYII="
"""A small picture, in base64."""
QUESTIONS = ("What is the weather in Paris?", "And in Rome?")


def exporting() -> TracerProvider:
    """The process's provider. It sends what it has when the process ends."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The city's name.
    """
    return f"{city}: sunny, 21"
