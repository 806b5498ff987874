"""The receivers' one door: a decoded request in, a durable place in the queue out. Knows neither HTTP nor gRPC."""

import asyncio
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from headrace import tracing
from headrace.config import Config
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Incoming
from headrace.errors import PermissionDenied, RequestError, TooManyExperiments, Unroutable
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.resolve import Refusal, Resolver
from headrace.processor.budget import keep_within
from headrace.processor.route import RUN_HEADER
from headrace.processor.validate import Verdict, validate
from headrace.queue import Queue
from headrace.store.database import Database
from headrace.telemetry.metrics import SPANS_ACCEPTED, SPANS_RECEIVED, SPANS_REJECTED, SPANS_REPAIRED


class Pipeline:
    """validate → keep within the budget of rows → route → offer."""

    def __init__(self, config: Config, queue: Queue, experiments: Experiments, database: Database) -> None:
        self._config = config
        self._queue = queue
        self._resolver = Resolver(config, experiments, database)

    async def consume(self, incoming: Incoming) -> Verdict:
        """Returns once the acceptable spans of the request are durable; the verdict tells of the others.

        Raises:
            RequestError: nothing of the request can be accepted, now or ever.
            QueueError: nothing was stored; the client shall come back.
        """
        verdict = validate(incoming.request)
        if incoming.malformed:
            verdict.received += incoming.malformed
            verdict.reject("malformed_span", incoming.malformed)
        max_tags = keep_within(incoming.request, verdict, self._config.max_rows_per_request, self._config.max_tags_per_trace)
        try:
            if verdict.accepted:
                destinations = await self._route(incoming, verdict)
                envelope = _envelope(incoming, verdict, destinations, max_tags)
                tracing.offered(envelope)
                await asyncio.wrap_future(self._queue.offer(envelope))
            elif verdict.received:
                raise RequestError(verdict.explain())
        except (Unroutable, PermissionDenied) as error:
            verdict.reject(_reason(error), verdict.accepted)
            raise
        finally:
            _count(verdict)
        SPANS_ACCEPTED.inc(verdict.accepted)
        return verdict

    async def _route(self, incoming: Incoming, verdict: Verdict) -> list[pb.Destination]:
        """One destination for each resource; resources that have none are taken out, unless none is left."""
        fates = await self._resolver.destinations(incoming.request, incoming.headers, incoming.allowed)
        routed: list[tuple[ResourceSpans, pb.Destination]] = []
        refused: list[tuple[Refusal, int]] = []
        for resource_spans, fate in zip(incoming.request.resource_spans, fates, strict=True):
            if isinstance(fate, pb.Destination):
                routed.append((resource_spans, fate))
            else:
                refused.append((fate, sum(len(scope.spans) for scope in resource_spans.scope_spans)))
        if refused:
            if not routed:
                raise refused[0][0]
            for refusal, spans in refused:
                verdict.reject(_reason(refusal), spans)
            kept = ExportTraceServiceRequest(resource_spans=[resource_spans for resource_spans, _ in routed])
            incoming.request.CopyFrom(kept)
        return [destination for _, destination in routed]


def _reason(error: Refusal) -> str:
    if isinstance(error, TooManyExperiments):
        return "too_many_experiments"
    return "no_experiment" if isinstance(error, Unroutable) else "forbidden_experiment"


def _envelope(incoming: Incoming, verdict: Verdict, destinations: list[pb.Destination], max_tags: int) -> bytes:
    body = incoming.body if incoming.body is not None and not verdict.reworded else incoming.request.SerializeToString()
    return pb.Envelope(
        received_unix_nano=time.time_ns(),
        destinations=destinations,
        run_id=incoming.headers.get(RUN_HEADER, "").strip()[:256],
        user_agent=incoming.headers.get("user-agent", "")[:256],
        key_name=incoming.key_name[:256],
        max_tags=max_tags,
        request=body,
    ).SerializeToString()


def _count(verdict: Verdict) -> None:
    SPANS_RECEIVED.inc(verdict.received)
    for reason, count in verdict.rejected.items():
        SPANS_REJECTED.labels(reason).inc(count)
    for rule, count in (verdict.repaired + verdict.warned).items():
        SPANS_REPAIRED.labels(rule).inc(count)
