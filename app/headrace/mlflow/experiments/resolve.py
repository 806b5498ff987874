"""A request's resources → where each goes, or why it goes nowhere: what its sender names, whether he may, which id that is.

Postgres is asked with a few queries a request, however many experiments it names.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.config import Config
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import DatabaseUnavailable, PermissionDenied, TooManyExperiments, Unroutable
from headrace.mlflow.experiments import Answer, Experiments
from headrace.mlflow.experiments.lookup import DEFAULT
from headrace.otlp.attributes import to_dict
from headrace.processor.route import Route, route_headers, route_resource
from headrace.store.database import Database
from headrace.telemetry.metrics import EXPERIMENTS_LIMITED

_ANSWER_SECONDS = 2.0
"""So long may Postgres think about experiments while a client waits: one that hangs is away."""

_IN_THREAD_RESOURCES = 64
"""Requests with more resources are routed off the event loop: each is matched with all rules."""

Refusal = Unroutable | PermissionDenied
_Answer = TypeVar("_Answer")


class Resolver:
    """Resources → destinations. Its threads are its own: those that hang with Postgres must not be missing for large bodies."""

    def __init__(self, config: Config, experiments: Experiments, database: Database) -> None:
        self._config = config
        self._experiments = experiments
        self._database = database
        self._askers = ThreadPoolExecutor(2, "headrace-experiments")

    async def destinations(
        self, request: ExportTraceServiceRequest, headers: Mapping[str, str], allowed: frozenset[str] | None
    ) -> Sequence[pb.Destination | Refusal]:
        """One for each of the request's resources. `allowed`: the experiments to which its sender may write; None: all.

        Raises:
            Unroutable: the headers name no possible experiment. RateLimited: it would create too many just now.
            DatabaseUnavailable: it cannot be told now whether the sender may.
        """
        fixed = route_headers(headers)
        if fixed is not None:
            routes: Sequence[Route | Unroutable] = [fixed] * len(request.resource_spans)
        elif len(request.resource_spans) > _IN_THREAD_RESOURCES:
            routes = await asyncio.to_thread(self._routes, request)
        else:
            routes = self._routes(request)
        fates = await self._fates(list(dict.fromkeys(route for route in routes if isinstance(route, Route))), allowed)
        return [fates[route] if isinstance(route, Route) else route for route in routes]

    def _routes(self, request: ExportTraceServiceRequest) -> list[Route | Unroutable]:
        routes: list[Route | Unroutable] = []
        for resource_spans in request.resource_spans:
            try:
                routes.append(route_resource(to_dict(resource_spans.resource.attributes), self._config))
            except Unroutable as error:
                routes.append(error)
        return routes

    async def _fates(self, routes: list[Route], allowed: frozenset[str] | None) -> dict[Route, pb.Destination | Refusal]:
        most = self._config.max_experiments_per_request
        fates: dict[Route, pb.Destination | Refusal] = {}
        if excess := routes[most:]:
            EXPERIMENTS_LIMITED.labels("named").inc(len(excess))
            said = f"One request may name {most} experiments (HEADRACE_MAX_EXPERIMENTS_PER_REQUEST), and this one names more."
            fates |= dict.fromkeys(excess, TooManyExperiments(said))
        # Before anything is created by its name.
        forbidden = {} if allowed is None else await self._forbidden(routes[:most], allowed)
        return fates | forbidden | await self._resolve([route for route in routes[:most] if route not in forbidden])

    async def _forbidden(self, routes: Sequence[Route], allowed: frozenset[str]) -> dict[Route, PermissionDenied]:
        """Those routes to which a key does not allow to write, and what to say.

        Raises:
            DatabaseUnavailable: that cannot be told now.
        """
        doubtful = [route for route in routes if (route.name or str(route.id)) not in allowed]
        if not doubtful:
            return {}
        # The key says it by name and the request by id, or the other way round.
        ids = await self._find({route.name for route in doubtful if route.id is None} | allowed)
        own = {str(ids[name]) for name in allowed if name in ids} | allowed
        named = {route: ids.get(route.name) if route.id is None else route.id for route in doubtful}
        refused = [route for route, id_ in named.items() if id_ is None or str(id_) not in own]
        return {route: PermissionDenied(_denied(route, allowed)) for route in refused}

    async def _find(self, names: Collection[str]) -> dict[str, int]:
        cached = {name: self._experiments.cached(Route(None, name, pb.ROUTED_BY_UNSPECIFIED)) for name in names}
        ids = {name: id_ for name, id_ in cached.items() if id_ is not None}
        if unknown := cached.keys() - ids.keys():
            ids |= await self._ask(partial(self._experiments.find, unknown))
        return ids

    async def _resolve(self, routes: Sequence[Route]) -> dict[Route, pb.Destination | Refusal]:
        """By id wherever that can be told now, else as it was named, for the worker to tell.

        Raises:
            RateLimited: too many would be created.
        """
        answers: dict[Route, Answer] = {route: self._experiments.cached(route) for route in routes}
        if unknown := [route for route, id_ in answers.items() if id_ is None]:
            answers |= await self._look_up(unknown)
        return {route: _destination(route, answer) for route, answer in answers.items()}

    async def _look_up(self, routes: Sequence[Route]) -> Mapping[Route, Answer]:
        if not self._database.state.away:
            try:
                return await self._ask(partial(self._experiments.look_up_all, routes))
            except DatabaseUnavailable:
                pass  # not the client's fault: accepted, and looked up once Postgres is back
        self._experiments.accept(routes)
        return {route: route.id for route in routes}

    async def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        """Asks Postgres, and waits for the answer no longer than a client may.

        Raises:
            DatabaseUnavailable: there is none in time. Besides, what `question` raises.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._askers, question)
        try:
            return await asyncio.wait_for(asked, _ANSWER_SECONDS)
        except asyncio.TimeoutError:
            self._database.note(f"no answer within {_ANSWER_SECONDS:g} s")
            raise DatabaseUnavailable("Postgres does not answer in time.") from None


def _destination(route: Route, answer: Answer) -> pb.Destination | Unroutable:
    if isinstance(answer, Unroutable):
        return answer
    if answer is None:  # by name; experiment 0, which is not there yet, by the one that it will have
        return pb.Destination(experiment_name=route.name or DEFAULT, routed_by=route.routed_by)
    return pb.Destination(experiment_id=str(answer), experiment_name=route.name, routed_by=route.routed_by)


def _denied(route: Route, allowed: frozenset[str]) -> str:
    most = ", ".join(sorted(allowed)[:10])
    return f"The API key may not write to the experiment {route.name or route.id}, only to: {most}."
