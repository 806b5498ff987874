"""Scores one order for fraud, as a traced pipeline: request → features → model → LLM. Prints the id of its trace.

Nothing in here knows Headrace: the standard OTEL_* variables say where the spans go (see README.md).
"""

import json
import os
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

tracer = trace.get_tracer("fraud-scorer", "1.0.0")


def main() -> None:
    provider = TracerProvider()  # reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    provider.add_span_processor(BatchSpanProcessor(new_exporter()))
    trace.set_tracer_provider(provider)
    print(handle_request({"order": 4711, "items": 3, "total": 129.9, "customer": "c-42"}))
    provider.shutdown()  # sends what is still buffered; a failure is logged to stderr


def new_exporter() -> SpanExporter:
    """What OTEL_EXPORTER_OTLP_PROTOCOL names; the other OTEL_EXPORTER_OTLP_* the exporters read themselves."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return GrpcExporter() if protocol == "grpc" else HttpExporter()


def handle_request(order: dict[str, Any]) -> str:
    """The root span. Returns the trace id in MLflow's spelling."""
    with tracer.start_as_current_span("POST /score", kind=SpanKind.SERVER) as span:
        span.set_attributes({"http.request.method": "POST", "url.path": "/score"})
        # MLflow shows these two as the trace's request and response.
        span.set_attribute("mlflow.spanInputs", json.dumps(order))
        features = load_features(order["customer"])
        score = predict(features)
        verdict = ask_llm(order, score) if score > 0.5 else "approve"
        span.set_attribute("mlflow.spanOutputs", json.dumps({"score": score, "verdict": verdict}))
        span.set_attribute("http.response.status_code", 200)
        return f"tr-{span.get_span_context().trace_id:032x}"


def load_features(customer: str) -> list[float]:
    """Asks the cache, which is down: its span becomes an error with the exception as an event. Then asks the database."""
    with tracer.start_as_current_span("load features") as span:
        try:
            with tracer.start_as_current_span("GET features", kind=SpanKind.CLIENT, attributes={"db.system.name": "redis"}):
                raise ConnectionError("feature cache is down")
        except ConnectionError:
            span.add_event("fall back to the database", {"customer": customer, "attempt": 1})
        query = {"db.system.name": "postgresql", "db.query.text": "SELECT * FROM customer_features WHERE customer_id = $1"}
        with tracer.start_as_current_span("SELECT customer_features", kind=SpanKind.CLIENT, attributes=query):
            time.sleep(0.02)  # the query
            features = [0.3, 1.0, 17.5]
        span.set_attributes({"features.cached": False, "features.values": features})
        return features


def predict(features: list[float]) -> float:
    """The model: here, a constant."""
    with tracer.start_as_current_span("predict fraud-gbm") as span:
        span.set_attributes({"ml.model.name": "fraud-gbm", "ml.model.version": 14, "ml.features.count": len(features)})
        time.sleep(0.005)
        score = 0.71
        span.set_attribute("ml.score", score)
        span.set_status(Status(StatusCode.OK))
        return score


def ask_llm(order: dict[str, Any], score: float) -> str:
    """A second opinion, with the attributes of OpenTelemetry's GenAI conventions, which MLflow reads."""
    question = f"Order {order['order']}, {order['total']} EUR, new device, model score {score}. Fraud? approve or refuse."
    with tracer.start_as_current_span("chat gpt-4o-mini", kind=SpanKind.CLIENT) as span:
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.request.temperature": 0.2,
                "gen_ai.input.messages": messages("user", question),
            }
        )
        time.sleep(0.12)  # here a program would call the LLM
        answer = "approve"
        span.set_attributes(
            {
                "gen_ai.response.model": "gpt-4o-mini",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 48,
                "gen_ai.usage.output_tokens": 2,
                "gen_ai.output.messages": messages("assistant", answer),
            }
        )
        return answer


def messages(role: str, text: str) -> str:
    """One message, as the GenAI conventions spell it."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


if __name__ == "__main__":
    main()
