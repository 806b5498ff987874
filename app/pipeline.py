"""The receivers' one door: a decoded request in, a durable place in the queue out. Knows neither HTTP nor gRPC."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from app import tracing
from app.config import Config
from app.database import Database
from app.errors import DatabaseUnavailable, PermissionDenied, RequestError, Unroutable
from app.otlp.attributes import to_dict
from app.processor.budget import keep_within
from app.processor.experiments import Experiments
from app.processor.route import RUN_HEADER, Route, route_headers, route_resource
from app.processor.validate import Verdict, validate
from app.queue import Queue
from app.queue import envelope_pb2 as pb
from app.telemetry import SPANS_ACCEPTED, SPANS_RECEIVED, SPANS_REJECTED, SPANS_REPAIRED

_ANSWER_SECONDS = 2.0
"""So long may Postgres think about an experiment while a client waits: one that hangs is away."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A decoded request as a receiver hands it over.

    `body` is its protobuf, if the wire had it: what needs no rewording is queued as it came. `malformed` spans were
    already left out by the codec. `headers` (or gRPC metadata) have lower-case keys. `allowed` are the experiments, ids or
    names, to which its sender may write; None: all. `key_name` is that of its API key; empty where it has none.
    """

    request: ExportTraceServiceRequest
    headers: Mapping[str, str]
    body: bytes | None = None
    malformed: int = 0
    allowed: frozenset[str] | None = None
    key_name: str = ""


class Pipeline:
    """validate → keep within the budget of rows → route → offer."""

    def __init__(self, config: Config, queue: Queue, experiments: Experiments, database: Database) -> None:
        self._config = config
        self._queue = queue
        self._experiments = experiments
        self._database = database
        # Threads of their own: those that hang with Postgres must not be missing where large bodies are read.
        self._askers = ThreadPoolExecutor(2, "headrace-experiments")

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
        fixed = route_headers(incoming.headers)
        if fixed is not None:
            await self._permit(fixed, incoming.allowed)
            return [await self._resolve(fixed)] * len(incoming.request.resource_spans)
        routed: list[tuple[ResourceSpans, pb.Destination]] = []
        refused: list[tuple[Unroutable | PermissionDenied, int]] = []
        for resource_spans in incoming.request.resource_spans:
            try:
                route = route_resource(to_dict(resource_spans.resource.attributes), self._config)
                await self._permit(route, incoming.allowed)
                routed.append((resource_spans, await self._resolve(route)))
            except (Unroutable, PermissionDenied) as error:
                refused.append((error, sum(len(scope.spans) for scope in resource_spans.scope_spans)))
        if refused:
            if sum(spans for _, spans in refused) == verdict.accepted:
                raise refused[0][0]
            for refusal, spans in refused:
                verdict.reject(_reason(refusal), spans)
            kept = ExportTraceServiceRequest(resource_spans=[resource_spans for resource_spans, _ in routed])
            incoming.request.CopyFrom(kept)
        return [destination for _, destination in routed]

    async def _permit(self, route: Route, allowed: frozenset[str] | None) -> None:
        """Checks the route against what its sender's key allows, before anything is created by its name.

        Raises:
            PermissionDenied: it is not allowed. DatabaseUnavailable: that cannot be told now.
        """
        if allowed is None or (route.name or str(route.id)) in allowed:
            return
        # The key says it by name and the request by id, or the other way round.
        id_ = route.id if route.id is not None else await self._find(route.name)
        if id_ is None or (str(id_) not in allowed and id_ not in [await self._find(name) for name in allowed]):
            raise PermissionDenied(
                f"The API key may not write to the experiment {route.name or id_}, only to: {_list(allowed)}."
            )

    async def _find(self, name: str) -> int | None:
        route = Route(None, name, pb.ROUTED_BY_UNSPECIFIED)
        id_ = self._experiments.cached(route)
        return await self._ask(self._experiments.find, route) if id_ is None else id_

    async def _resolve(self, route: Route) -> pb.Destination:
        """A route → a destination: by id wherever that can be told now, else as it was named, for the worker to tell."""
        id_ = self._experiments.cached(route)
        if id_ is None and not self._database.state.away:
            try:
                id_ = await self._ask(self._experiments.look_up, route)
            except DatabaseUnavailable:
                pass  # not the client's fault: accepted, and looked up once Postgres is back
        id_ = route.id if id_ is None else id_
        return pb.Destination(
            experiment_id="" if id_ is None else str(id_), experiment_name=route.name, routed_by=route.routed_by
        )

    async def _ask(self, question: Callable[[Route], _Answer], route: Route) -> _Answer:
        """Asks Postgres, and waits for the answer no longer than a client may.

        Raises:
            DatabaseUnavailable: there is none in time. Besides, what `question` raises.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._askers, question, route)
        try:
            return await asyncio.wait_for(asked, _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            self._database.note(f"no answer within {_ANSWER_SECONDS:g} s")
            raise DatabaseUnavailable("Postgres does not answer in time.") from None


def _reason(error: Unroutable | PermissionDenied) -> str:
    return "no_experiment" if isinstance(error, Unroutable) else "forbidden_experiment"


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:10])


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
