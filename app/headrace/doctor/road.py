"""One span down the real road: sent to the receiver as a service would send it, and waited for in MLflow."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headrace.config import Config
from headrace.doctor import Finding, Probe, ok, skipped, wrong
from headrace.doctor.running import SECONDS, tls_context
from headrace.local.sending import opener, send, wait_visible
from headrace.otlp.error_words import error_words

_WAIT_SECONDS = 15.0


def road(config: Config, probe: Probe, receiver_answers: bool, mlflow_answers: bool) -> Iterator[Finding]:
    """Sends a span, waits until MLflow shows its trace, and has MLflow delete it."""
    if not probe.wanted or not receiver_answers:
        yield skipped("a span's road", "Not asked for." if not probe.wanted else "Nobody takes the span.")
        return
    trace_id = os.urandom(16)
    began = time.monotonic()
    if refusal := _send(config, probe, _request(trace_id)):
        yield wrong("a span's road", "probe-refused", refusal)
        return
    if not mlflow_answers:
        yield skipped("a span's road", "The span was accepted. Whether it is seen cannot be told: MLflow does not answer.")
        return
    if wait_visible(opener(past_proxies=True), config.mlflow_api, f"tr-{trace_id.hex()}", _WAIT_SECONDS):
        _delete(config, probe, f"tr-{trace_id.hex()}")
        yield ok("a span's road", f"A span was seen in MLflow {time.monotonic() - began:.1f} s after it was sent.")
    else:
        yield wrong("a span's road", "probe-not-seen", f"tr-{trace_id.hex()} was not seen within {_WAIT_SECONDS:.0f} s.")


def _request(trace_id: bytes) -> bytes:
    now = time.time_ns()
    span = Span(
        trace_id=trace_id,
        span_id=os.urandom(8),
        name="headrace doctor",
        start_time_unix_nano=now - 1_000_000,
        end_time_unix_nano=now,
    )
    service = KeyValue(key="service.name", value=AnyValue(string_value="headrace-doctor"))
    of_service = ResourceSpans(resource=Resource(attributes=[service]), scope_spans=[ScopeSpans(spans=[span])])
    return ExportTraceServiceRequest(resource_spans=[of_service]).SerializeToString()


def _send(config: Config, probe: Probe, body: bytes) -> str:
    """Sends the span. Returns why it was refused; empty: it was accepted."""
    headers = {"x-mlflow-experiment-id": probe.experiment_id}
    if probe.api_key:
        headers["authorization"] = f"Bearer {probe.api_key}"
    try:
        send(opener(past_proxies=True, context=tls_context(config)), f"{config.own_url}/v1/traces", body, headers)
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error_words(error.read(65_536))}"
    except (OSError, HTTPException) as error:
        return f"The connection broke: {error}."
    return ""


def _delete(config: Config, probe: Probe, trace_id: str) -> None:
    """Has MLflow delete the probe's trace. If that fails, the trace stays, under a name that says what it is."""
    body = json.dumps({"experiment_id": probe.experiment_id, "request_ids": [trace_id]}).encode()
    url = f"{config.mlflow_api}/api/2.0/mlflow/traces/delete-traces"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - the user's own MLflow
    try:
        with opener(past_proxies=True).open(request, timeout=SECONDS):
            pass
    except (OSError, HTTPException):
        pass
