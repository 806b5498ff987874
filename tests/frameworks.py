"""Real exports of agent frameworks (`parity/exports`), read, and what becomes of their spans."""

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.model import Trace, TracePart
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.parts import to_parts
from headrace.otlp.json_encoding import decode_json

EXPORTS = Path(__file__).with_name("parity") / "exports"
NAMES = tuple(sorted(path.stem for path in EXPORTS.glob("*.json") if not path.stem.endswith(".logs")))
PROGRAM_EXPORTS = EXPORTS / "programs"
PROGRAMS = tuple(sorted(path.stem for path in PROGRAM_EXPORTS.glob("*.json")))
"""Those of the programs in `world/frameworks/programs`, which `world.frameworks.capture` writes."""
MODELS = ("LLM", "CHAT_MODEL", "EMBEDDING")
"""Types of the calls of models."""


class Shown(NamedTuple):
    """A span as MLflow shows it."""

    name: str
    type: str | None
    model: str | None
    provider: str | None
    attributes: dict[str, Any]
    """Each read as JSON where it is such."""

    @property
    def inputs(self) -> Any:
        """What MLflow shows as its inputs."""
        return self.attributes.get("mlflow.spanInputs")

    @property
    def outputs(self) -> Any:
        """What MLflow shows as its outputs."""
        return self.attributes.get("mlflow.spanOutputs")

    @property
    def usage(self) -> Any:
        """Its tokens."""
        return self.attributes.get("mlflow.chat.tokenUsage")

    @property
    def cost(self) -> Any:
        """Its cost."""
        return self.attributes.get("mlflow.llm.cost")


@cache
def export(name: str) -> ExportTraceServiceRequest:
    """One export. Nobody may change it."""
    folder = EXPORTS if name in NAMES else PROGRAM_EXPORTS
    request: ExportTraceServiceRequest = decode_json((folder / f"{name}.json").read_bytes())[0]
    return request


def parts(request: ExportTraceServiceRequest, dialects: Dialects | None = None) -> list[TracePart[Any]]:
    """A request's parts, with enrichment."""
    destinations = tuple(pb.Destination(experiment_id="1") for _ in request.resource_spans)
    return to_parts(Delivery(request, destinations, "", 0, ""), Counter(), RootDecides(), dialects=dialects)


def folded(made: list[TracePart[Any]]) -> Trace[Any]:
    """Parts of one trace → the trace."""
    policy = RootDecides()
    trace = policy.create(made[0])
    for part in made[1:]:
        policy.apply(trace, part)
    policy.decide(trace)
    return trace


def spans(request: ExportTraceServiceRequest, dialects: Dialects | None = None) -> list[Shown]:
    """The spans of a request as MLflow shows them, in the order in which they came."""
    return [
        Shown(row.name, row.type, row.model_name, row.model_provider, _read(json.loads(row.content)["attributes"]))
        for part in parts(request, dialects)
        for row in part.spans.values()
    ]


def shown(
    attrs: dict[str, Any], dialects: Dialects | None = None, name: str = "work", parent: bytes = b"", **more: Any
) -> Shown:
    """One span with these attributes as MLflow shows it."""
    (span,) = spans(otlp.request(otlp.span(name, parent=parent, attrs=attrs), **more), dialects)
    return span


def trace_of(*sent: Span, **resource: str) -> Trace[Any]:
    """Spans of one trace → the trace."""
    return folded(parts(otlp.request(*sent, **resource)))


def _read(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: _value(value) for key, value in attributes.items()}


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
