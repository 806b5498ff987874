"""One realistic trace for a first look: a checkout service (Node), a fraud scorer (Python) with an LLM, a model server (Java).

It is built as OTLP messages by hand, and sent in three requests, as three services would send it: the root comes last.
"""

import json
import os
import time
import urllib.request
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

_MS = 1_000_000


def demo_requests(now_unix_nano: int) -> tuple[str, list[ExportTraceServiceRequest]]:
    """A trace that ends at this time → (MLflow's id of it, its three requests in the order of sending)."""
    trace_id = os.urandom(16)
    root, score, features, llm, predict, charge = (os.urandom(8) for _ in range(6))
    start = now_unix_nano - 1_900 * _MS

    def span(id_: bytes, parent: bytes, name: str, kind: int, begin_ms: int, end_ms: int, **attributes: Any) -> Span:
        return Span(
            trace_id=trace_id,
            span_id=id_,
            parent_span_id=parent,
            name=name,
            kind=kind,  # type: ignore[arg-type]
            start_time_unix_nano=start + begin_ms * _MS,
            end_time_unix_nano=start + end_ms * _MS,
            attributes=[_attribute(key.replace("__", "."), value) for key, value in attributes.items()],
            status=Status(code=Status.STATUS_CODE_OK),
        )

    model_server = [
        span(predict, score, "POST /v2/models/fraud-gbm/infer", Span.SPAN_KIND_SERVER, 310, 355,
             http__request__method="POST", url__path="/v2/models/fraud-gbm/infer", http__response__status_code=200,
             ml__model__name="fraud-gbm", ml__model__version="14"),
    ]  # fmt: skip
    question = "Order 4711: 3 items, 129.90 EUR, new device, GBM score 0.71. Fraud?"
    prompt = json.dumps([{"role": "user", "content": question}])
    verdict = json.dumps([{"role": "assistant", "content": "Likely legitimate: known address, usual basket. Approve."}])
    scorer = [
        span(features, score, "SELECT customer_features", Span.SPAN_KIND_CLIENT, 120, 290,
             db__system__name="postgresql", db__query__text="SELECT * FROM customer_features WHERE customer_id = $1"),
        span(llm, score, "chat gpt-4o-mini", Span.SPAN_KIND_CLIENT, 380, 1_540,
             gen_ai__operation__name="chat", gen_ai__provider__name="openai", gen_ai__request__model="gpt-4o-mini",
             gen_ai__response__model="gpt-4o-mini", gen_ai__usage__input_tokens=212, gen_ai__usage__output_tokens=18,
             gen_ai__input__messages=prompt, gen_ai__output__messages=verdict),
        span(score, root, "score payment", Span.SPAN_KIND_SERVER, 90, 1_580, http__request__method="POST"),
    ]  # fmt: skip
    checkout = [
        span(charge, root, "POST /v1/charges", Span.SPAN_KIND_CLIENT, 1_600, 1_860,
             http__request__method="POST", server__address="payments.example", http__response__status_code=201),
        span(root, b"", "POST /checkout", Span.SPAN_KIND_SERVER, 0, 1_900,
             http__request__method="POST", url__path="/checkout", http__response__status_code=200,
             mlflow__spanInputs='{"order": 4711, "items": 3, "total": "129.90 EUR"}',
             mlflow__spanOutputs='{"status": "paid", "fraud": "approve"}'),
    ]  # fmt: skip
    return f"tr-{trace_id.hex()}", [
        _request("model-server", "java", model_server),
        _request("fraud-scorer", "python", scorer),
        _request("checkout", "nodejs", checkout),
    ]


def send(endpoint: str, request: ExportTraceServiceRequest, headers: dict[str, str]) -> None:
    """Sends one request with POST. Raises urllib's errors."""
    post = urllib.request.Request(  # noqa: S310 - the user's own endpoint
        endpoint, request.SerializeToString(), {"content-type": "application/x-protobuf", **headers}
    )
    with urllib.request.urlopen(post, timeout=10):  # noqa: S310
        pass


def wait_visible(ui_url: str, trace_id: str, seconds: float) -> bool:
    """Asks MLflow's REST API until it shows the trace with its root. False: it did not within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{ui_url}/api/3.0/mlflow/traces/{trace_id}", timeout=5) as answer:  # noqa: S310
                if json.load(answer)["trace"]["trace_info"]["state"] != "IN_PROGRESS":
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _request(service: str, language: str, spans: list[Span]) -> ExportTraceServiceRequest:
    attributes = {"service.name": service, "telemetry.sdk.language": language, "deployment.environment.name": "demo"}
    resource = Resource(attributes=[_attribute(key, value) for key, value in attributes.items()])
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])])


def _attribute(key: str, value: str | int) -> KeyValue:
    pair = KeyValue(key=key)
    if isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.string_value = value
    return pair
