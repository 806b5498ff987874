"""Realistic traces for a first look, in three scenarios: plain HTTP services, an LLM agent, a machine learning pipeline.

They are built as OTLP messages by hand. Each is sent in several requests, as several services would send it; the root comes
last.
"""

from random import Random
from typing import Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.local.demo.agent import Turn
from headrace.local.demo.checkout import Checkout
from headrace.local.demo.pipeline import Pipeline
from headrace.local.demo.spans import Trace

__all__ = ["SCENARIOS", "Checkout", "Made", "Pipeline", "Trace", "Turn", "any_of", "demo_requests"]

_SHARES = {"services": 6, "agent": 3, "pipeline": 1}
"""How often each is chosen, where they come all the time."""


class Made(Protocol):
    """What a scenario is: the facts of one trace."""

    @classmethod
    def any(cls, random: Random) -> "Made":
        """One of many, by chance."""
        ...

    def trace(self, now_unix_nano: int) -> Trace:
        """A trace that ends at this time."""
        ...


SCENARIOS: dict[str, type[Made]] = {"services": Checkout, "agent": Turn, "pipeline": Pipeline}
"""By the names of `headrace demo --scenario`."""


def any_of(names: list[str], random: Random) -> Made:
    """One of these scenarios, with facts by chance."""
    (name,) = random.choices(names, [_SHARES[each] for each in names])
    return SCENARIOS[name].any(random)


def demo_requests(now_unix_nano: int, made: Made | None = None) -> tuple[str, list[ExportTraceServiceRequest]]:
    """A trace that ends at this time → (MLflow's id of it, its requests in the order of sending). Default: the services."""
    trace = (made or Checkout()).trace(now_unix_nano)
    return trace.mlflow_id, trace.requests()
