"""An agent with OpenTelemetry's instrumentation for OpenAI: its prompts and answers are log records, and MLflow shows them."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, wait_until
from fake_models import ANSWER, fake_models
from mlflow import MlflowClient
from mlflow.entities import Trace

pytestmark = [
    pytest.mark.timeout(400),  # the packages, on a slow network
    pytest.mark.slow("otlp processor mlflow export"),
]

# The agent, and what an operator would write to see it. It prints its trace's id.
AGENT = """
import sys

from openai import OpenAI
from opentelemetry import trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

traces, logs = TracerProvider(), LoggerProvider()
traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
trace.set_tracer_provider(traces)
set_logger_provider(logs)
OpenAIInstrumentor().instrument()

parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
messages = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the weather in Paris?"},
]
client = OpenAI()
with trace.get_tracer("agent").start_as_current_span("weather agent") as span:
    for _ in range(2):
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or ():
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny, 21"})
    print(f"tr-{span.get_span_context().trace_id:032x}")
for provider in (traces, logs) if sys.argv[1] == "traces" else (logs, traces):
    provider.shutdown()
"""


@pytest.fixture(scope="session")
def openai_python(pytestconfig: pytest.Config) -> Path:
    """The interpreter of a virtual environment with OpenAI's client and the instrumentation, which is kept for the next run."""
    assert pytestconfig.cache is not None
    lock = Path(__file__).with_name("python-openai-v2.txt")
    content = hashlib.sha256(lock.read_bytes()).hexdigest()
    directory = pytestconfig.cache.mkdir(f"openai-v2-{platform.python_version()}-{content[:12]}")
    python, installed = directory / "bin" / "python", directory / "installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True, capture_output=True, timeout=100)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        command = [*pip, "--only-binary=:all:", "--require-hashes", "--requirement", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            assert "HASHES" not in done.stderr, done.stderr
            pytest.skip(f"The instrumentation for OpenAI cannot be installed: {done.stderr.strip()}")
        installed.touch()
    return python


def run(python: Path, up: Running, experiment: str, first: str) -> str:
    """Runs the agent; returns its trace's id. `first`: the signal that is sent first."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": up.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-mlflow-experiment-id={experiment}",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        "OTEL_SERVICE_NAME": "agent",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # each signal when its provider is shut down, not before
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "OPENAI_API_KEY": "none",
    }
    own = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "OPENAI_"))}
    with fake_models() as url:
        command = [str(python), "-c", AGENT, first]
        settings["OPENAI_BASE_URL"] = f"{url}/v1"
        done = subprocess.run(command, env=own | settings, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "Failed to export" not in done.stderr
    return done.stdout.strip()


def chats(trace: Trace) -> list[tuple[Any, Any]]:
    """Inputs and outputs of the calls of the model, in the order of time."""
    calls = sorted((span for span in trace.data.spans if span.name.startswith("chat")), key=lambda span: span.start_time_ns)
    return [(span.inputs, span.outputs) for span in calls]


@pytest.mark.parametrize("first", ["traces", "logs"])
def test_prompts_and_answers_in_log_records_become_the_chat_of_their_span(up: Running, openai_python: Path, first: str) -> None:
    client = MlflowClient(up.ui_url)
    trace_id = run(openai_python, up, client.create_experiment(f"openai-v2, {first} first"), first)
    wait_until(
        lambda: len(found := chats(client.get_trace(trace_id))) == 2 and all(inputs and outputs for inputs, outputs in found)
    )
    (asked, called), (asked_again, answered) = chats(client.get_trace(trace_id))
    assert [message["role"] for message in asked_again] == ["system", "user", "assistant", "tool"]
    assert "What is the weather in Paris?" in json.dumps(asked)
    assert "get_weather" in json.dumps(called)
    assert "sunny, 21" in json.dumps(asked_again)
    assert ANSWER in json.dumps(answered)
