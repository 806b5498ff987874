"""The lines to copy: how a service in each language is pointed at Headrace. Pure; no I/O."""

from typing import NamedTuple

from headrace.config import Config
from headrace.receiver.lines import KEY, environment, otlp_url


class Snippet(NamedTuple):
    """Lines for one language."""

    name: str
    lines: str


_QUIET = "-Dotel.metrics.exporter=none -Dotel.logs.exporter=none"
_LANGUAGES = [
    Snippet(
        "Python",
        "pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http\n"
        "opentelemetry-bootstrap -a install\n"
        "opentelemetry-instrument --metrics_exporter none --logs_exporter none python app.py",
    ),
    Snippet(
        "Node.js",
        "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node\n"
        "OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \\\n"
        "  node --require @opentelemetry/auto-instrumentations-node/register app.js",
    ),
    Snippet("Java", f"java -javaagent:opentelemetry-javaagent.jar {_QUIET} -jar app.jar"),
    Snippet(
        "Go",
        "go get go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp\n\n"
        "exporter, err := otlptracehttp.New(ctx) // reads the variables\n"
        "provider := trace.NewTracerProvider(trace.WithBatcher(exporter))",
    ),
    Snippet(
        "Rust", 'cargo add opentelemetry_sdk\ncargo add opentelemetry-otlp --features "http-proto reqwest-blocking-client"'
    ),
]
"""What a program in each of these languages needs; the variables say where to send."""


def snippets(config: Config, experiment: str) -> list[Snippet]:
    """For each language what comes after the variables; the first are the variables themselves."""
    endpoint, keyed = otlp_url(config), config.api_keys is not None
    authorization = f'\n      authorization: "Bearer {KEY}"' if keyed else ""
    bearer = f" \\\n  -H 'authorization: Bearer {KEY}'" if keyed else ""
    return [
        Snippet("Any language", environment(endpoint, experiment, keyed)),
        *_LANGUAGES,
        Snippet(
            "Collector",
            "exporters:\n  otlphttp/headrace:\n"
            f"    traces_endpoint: {endpoint}/v1/traces\n    headers:\n"
            f'      x-mlflow-experiment-id: "{experiment}"{authorization}',
        ),
        Snippet("curl", _curl(endpoint, experiment, bearer)),
    ]


def _curl(endpoint: str, experiment: str, bearer: str) -> str:
    span = (
        '"traceId": "\'$(openssl rand -hex 16)\'", "spanId": "\'$(openssl rand -hex 8)\'", "name": "hello",\n'
        '  "startTimeUnixNano": "\'$(date +%s)000000000\'", "endTimeUnixNano": "\'$(date +%s)500000000\'"'
    )
    return (
        f"curl {endpoint}/v1/traces -H 'content-type: application/json' \\\n"
        f"  -H 'x-mlflow-experiment-id: {experiment}'{bearer} \\\n"
        f'  -d \'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{\n  {span}}}]}}]}}]}}\''
    )
