"""Runs a program against a fake model server and an OTLP endpoint."""

import os
import subprocess
from pathlib import Path

_OTHERS = (
    "OTEL_",
    "PYTHON",
    "NODE_",
    "OPENAI_",
    "ANTHROPIC_",
    "GOOGLE_",
    "GEMINI_",
    "LANG",
    "CREWAI_",
    "HTTP",
    "http",
    "ALL_PROXY",
)
"""What settings of this process begin with that a program must not see."""


def run(command: list[str], models: str, endpoint: str, headers: str, home: Path) -> None:
    """Runs it to its end.

    `command`: see `command_of`. `models`: the URL of the model server. `endpoint`: that of Headrace. `headers`: `name=value`
    for the exporter. `home`: an empty folder, where frameworks write what they remember.
    """
    own = {key: value for key, value in os.environ.items() if not key.startswith(_OTHERS)}
    settings = {
        "HOME": str(home),
        "MODELS_URL": models,
        "OPENAI_BASE_URL": f"{models}/v1",
        "OPENAI_API_KEY": "none",
        "GOOGLE_GEMINI_BASE_URL": models,
        "GOOGLE_API_KEY": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": headers,
        "OTEL_SERVICE_NAME": "weather",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # all spans in one request, at the end
        "CREWAI_DISABLE_TELEMETRY": "true",  # nothing is sent anywhere else
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "AGNO_TELEMETRY": "false",
    }
    done = subprocess.run(command, env=own | settings, capture_output=True, text=True, timeout=300, cwd=home, check=False)
    assert done.returncode == 0, done.stderr
    assert "Failed to export" not in done.stderr, done.stderr
