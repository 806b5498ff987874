"""The lines to copy: how a service in each language is pointed at Headrace. Pure; no I/O."""

from typing import NamedTuple

from headrace.config import Config

KEY = "YOUR-KEY"


class Snippet(NamedTuple):
    """Lines for one language."""

    name: str
    lines: str


def otlp_url(config: Config) -> str:
    """Where services reach OTLP/HTTP."""
    host = config.host if config.host not in ("127.0.0.1", "0.0.0.0", "::", "::1") else "localhost"
    scheme = "http" if config.tls_cert is None else "https"
    return (config.otlp_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.http_port}").rstrip("/")


def environment(endpoint: str, experiment: str, keyed: bool) -> str:
    """The three variables that every SDK reads."""
    headers = f"x-mlflow-experiment-id={experiment}" + (f",authorization=Bearer%20{KEY}" if keyed else "")
    return (
        f"export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={endpoint}/v1/traces\n"
        f"export OTEL_EXPORTER_OTLP_TRACES_HEADERS={headers}\n"
        "export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"
    )


def snippets(config: Config, experiment: str) -> list[Snippet]:
    """For each language what comes after the variables; the first are the variables themselves."""
    endpoint, keyed = otlp_url(config), config.api_keys is not None
    quiet = "-Dotel.metrics.exporter=none -Dotel.logs.exporter=none"
    authorization = f'\n      authorization: "Bearer {KEY}"' if keyed else ""
    bearer = f" \\\n  -H 'authorization: Bearer {KEY}'" if keyed else ""
    return [
        Snippet("Any language", environment(endpoint, experiment, keyed)),
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
        Snippet("Java", f"java -javaagent:opentelemetry-javaagent.jar {quiet} -jar app.jar"),
        Snippet(
            "Go",
            "go get go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp\n\n"
            "exporter, err := otlptracehttp.New(ctx) // reads the variables\n"
            "provider := trace.NewTracerProvider(trace.WithBatcher(exporter))",
        ),
        Snippet(
            "Rust", 'cargo add opentelemetry_sdk\ncargo add opentelemetry-otlp --features "http-proto reqwest-blocking-client"'
        ),
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
