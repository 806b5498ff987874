"""Realistic traces for a first look: a checkout service (Node), a fraud scorer (Python) with an LLM, a model server (Java).

They are built as OTLP messages by hand. Each is sent in three requests, as three services would send it: the root comes last.
"""

import json
import os
import time
import urllib.request
from dataclasses import dataclass
from random import Random
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

_MS = 1_000_000
_SHARE_FAILED = 0.08
_MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1-mini")
_CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald")


@dataclass(frozen=True, slots=True)
class Checkout:
    """What differs from one trace to the next. The defaults are those of the one trace that `headrace demo` sends."""

    order: int = 4711
    items: int = 3
    euros: str = "129.90"
    score: float = 0.71
    model: str = "gpt-4o-mini"
    customer: str = "ada"
    slowness: float = 1.0
    """All durations are multiplied by it."""
    fails: bool = False
    """Whether the LLM gives no answer in time."""

    @classmethod
    def any(cls, random: Random) -> "Checkout":
        """One of many, some of which are slow or fail."""
        return cls(
            order=random.randrange(1_000, 10_000),
            items=random.randint(1, 9),
            euros=f"{random.lognormvariate(4.2, 0.8):.2f}",
            score=round(random.betavariate(2, 5), 2),
            model=random.choice(_MODELS),
            customer=random.choice(_CUSTOMERS),
            slowness=random.lognormvariate(-0.3, 0.4),
            fails=random.random() < _SHARE_FAILED,
        )


def demo_requests(now_unix_nano: int, checkout: Checkout | None = None) -> tuple[str, list[ExportTraceServiceRequest]]:
    """A trace that ends at this time → (MLflow's id of it, its three requests in the order of sending)."""
    trace = _Trace(now_unix_nano, checkout or Checkout())
    return f"tr-{trace.id.hex()}", [
        _request("model-server", "java", trace.model_server()),
        _request("fraud-scorer", "python", trace.scorer()),
        _request("checkout", "nodejs", trace.checkout()),
    ]


class _Trace:
    """One trace: its ids, and its spans by service."""

    def __init__(self, now_unix_nano: int, order: Checkout) -> None:
        self.id = os.urandom(16)
        self._root, self._score, self._features, self._llm, self._predict, self._charge = (os.urandom(8) for _ in range(6))
        self._of = order
        self._start = now_unix_nano - int(1_900 * order.slowness) * _MS

    def model_server(self) -> list[Span]:
        """The spans of the model server."""
        path = "/v2/models/fraud-gbm/infer"
        return [
            self._span(self._predict, self._score, f"POST {path}", Span.SPAN_KIND_SERVER, 310, 355,
                       http__request__method="POST", url__path=path, http__response__status_code=200,
                       ml__model__name="fraud-gbm", ml__model__version="14"),
        ]  # fmt: skip

    def scorer(self) -> list[Span]:
        """The spans of the fraud scorer, with its call of an LLM."""
        of = self._of
        question = f"Order {of.order}: {of.items} items, {of.euros} EUR, new device, GBM score {of.score}. Fraud?"
        prompt = json.dumps([{"role": "user", "content": question}])
        verdict = json.dumps([{"role": "assistant", "content": "Likely legitimate: known address, usual basket. Approve."}])
        answer = {} if of.fails else {"gen_ai.usage.output_tokens": 18, "gen_ai.output.messages": verdict}
        llm = self._span(self._llm, self._score, f"chat {of.model}", Span.SPAN_KIND_CLIENT, 380, 1_540,
                         gen_ai__operation__name="chat", gen_ai__provider__name="openai", gen_ai__request__model=of.model,
                         gen_ai__response__model=of.model, gen_ai__usage__input_tokens=212, gen_ai__input__messages=prompt,
                         **answer)  # fmt: skip
        if of.fails:
            llm.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="no answer within 1 s"))
            said = {"exception.type": "TimeoutError", "exception.message": "no answer within 1 s"}
            llm.events.add(
                name="exception", time_unix_nano=llm.end_time_unix_nano, attributes=[_attribute(*pair) for pair in said.items()]
            )
        return [
            self._span(self._features, self._score, "SELECT customer_features", Span.SPAN_KIND_CLIENT, 120, 290,
                       db__system__name="postgresql",
                       db__query__text="SELECT * FROM customer_features WHERE customer_id = $1"),
            llm,
            self._span(self._score, self._root, "score payment", Span.SPAN_KIND_SERVER, 90, 1_580,
                       http__request__method="POST"),
        ]  # fmt: skip

    def checkout(self) -> list[Span]:
        """The spans of the checkout service, the root among them."""
        of = self._of
        order = json.dumps({"order": of.order, "items": of.items, "total": f"{of.euros} EUR"})
        outcome = {"status": "refused", "reason": "fraud check failed"} if of.fails else {"status": "paid", "fraud": "approve"}
        root = self._span(self._root, b"", "POST /checkout", Span.SPAN_KIND_SERVER, 0, 1_900,
                          http__request__method="POST", url__path="/checkout",
                          http__response__status_code=503 if of.fails else 200, user__id=of.customer,
                          mlflow__spanInputs=order, mlflow__spanOutputs=json.dumps(outcome))  # fmt: skip
        if of.fails:
            root.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="fraud check failed"))
            return [root]
        charge = self._span(self._charge, self._root, "POST /v1/charges", Span.SPAN_KIND_CLIENT, 1_600, 1_860,
                            http__request__method="POST", server__address="payments.example",
                            http__response__status_code=201)  # fmt: skip
        return [charge, root]

    def _span(
        self,
        id_: bytes,
        parent: bytes,
        name: str,
        kind: "Span.SpanKind.ValueType",
        begin_ms: int,
        end_ms: int,
        **attributes: Any,
    ) -> Span:
        """`attributes`: `a__b` stands for `a.b`."""
        return Span(
            trace_id=self.id,
            span_id=id_,
            parent_span_id=parent,
            name=name,
            kind=kind,
            start_time_unix_nano=self._start + int(begin_ms * self._of.slowness) * _MS,
            end_time_unix_nano=self._start + int(end_ms * self._of.slowness) * _MS,
            attributes=[_attribute(key.replace("__", "."), value) for key, value in attributes.items()],
            status=Status(code=Status.STATUS_CODE_OK),
        )


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
    said = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=said)
