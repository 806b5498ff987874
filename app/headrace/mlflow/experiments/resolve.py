"""A request's resources → where each goes, or why it goes nowhere: what its sender names, whether he may, which id that is.

Postgres is asked with a few queries a request, however many experiments it names.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from headrace.config import Config
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Sender
from headrace.envelope.limit import Limit
from headrace.errors import DatabaseUnavailable, TooManyExperiments, Unroutable
from headrace.mlflow.experiments import AGING_SECONDS, Answer, Experiments
from headrace.mlflow.experiments.ask import Questions
from headrace.mlflow.experiments.lookup import DEFAULT
from headrace.mlflow.experiments.permit import Permits
from headrace.otlp.attributes import to_dict
from headrace.otlp.readable import ReadableHolder
from headrace.processor.authorize import Fate
from headrace.processor.route import Route, route_headers, route_resource
from headrace.store.database import Database
from headrace.telemetry.metrics import EXPERIMENTS_LIMITED

_IN_THREAD_RESOURCES = 64
"""Requests with more resources are routed off the event loop: each is matched with all rules."""


class ExperimentResolver:
    """The `Resolver` that knows MLflow's experiments."""

    def __init__(self, config: Config, experiments: Experiments, database: Database) -> None:
        self._config = config
        self._experiments = experiments
        self._questions = Questions(database)
        self._permits = Permits(experiments, self._questions)
        self._aging: dict[Route, None] = {}
        self._refreshed = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    def is_deleted(self, destination: pb.Destination) -> bool:
        """See `Resolver`."""
        deleted = self._experiments.deleted
        return bool(deleted) and bool(destination.experiment_id) and int(destination.experiment_id) in deleted

    async def resolve(self, resources: Sequence[ReadableHolder], sender: Sender) -> Sequence[Fate]:
        """See `Resolver`."""
        fixed = route_headers(sender.headers)
        if fixed is not None:
            routes: Sequence[Route | Unroutable] = [fixed] * len(resources)
        elif len(resources) > _IN_THREAD_RESOURCES:
            routes = await asyncio.to_thread(self._routes, resources)
        else:
            routes = self._routes(resources)
        different = list(dict.fromkeys(route for route in routes if isinstance(route, Route)))
        fates = await self._fates(different, sender.limit)
        return [fates[route] if isinstance(route, Route) else route for route in routes]

    def _routes(self, resources: Sequence[ReadableHolder]) -> list[Route | Unroutable]:
        routes: list[Route | Unroutable] = []
        for holder in resources:
            try:
                routes.append(route_resource(to_dict(holder.resource.attributes), self._config))
            except Unroutable as error:
                routes.append(error)
        return routes

    async def _fates(self, routes: Sequence[Route], limit: Limit | None) -> dict[Route, Fate]:
        most = self._config.max_experiments_per_request
        fates: dict[Route, Fate] = {}
        if excess := routes[most:]:
            EXPERIMENTS_LIMITED.labels("named").inc(len(excess))
            said = f"One request may name {most} experiments (HEADRACE_MAX_EXPERIMENTS_PER_REQUEST), and this one names more."
            fates |= dict.fromkeys(excess, TooManyExperiments(said))
        # Before anything is created by its name.
        forbidden = {} if limit is None else await self._permits.forbidden(routes[:most], limit)
        return fates | forbidden | await self._destinations([route for route in routes[:most] if route not in forbidden])

    async def _destinations(self, routes: Sequence[Route]) -> dict[Route, Fate]:
        """By id wherever that can be told now, else as it was named, for the worker to tell.

        Raises:
            RateLimited: too many would be created.
        """
        answers: dict[Route, Answer] = {route: self._experiments.cached(route) for route in routes}
        if unknown := [route for route, id_ in answers.items() if id_ is None]:
            answers |= await self._look_up(unknown)
        self._refresh(route for route in routes if self._experiments.is_aging(route))
        return {route: _destination(route, answer) for route, answer in answers.items()}

    def _refresh(self, routes: Iterable[Route]) -> None:
        """Has cached experiments looked up again, once a second with one query, while nobody waits for it.

        So a request is told within two seconds that its experiment is deleted, and not only once the cache forgets it.
        """
        self._aging.update(dict.fromkeys(routes))
        now = time.monotonic()
        if not self._aging or now - self._refreshed < AGING_SECONDS or self._questions.hopeless:
            return
        self._refreshed = now
        aging, self._aging = self._aging, {}
        self._refreshing = asyncio.get_running_loop().create_task(self._look_again(aging))

    async def _look_again(self, routes: Collection[Route]) -> None:
        with suppress(DatabaseUnavailable):
            await self._questions.ask(partial(self._experiments.refresh, routes))

    async def _look_up(self, routes: Sequence[Route]) -> Mapping[Route, Answer]:
        if not self._questions.hopeless:
            try:
                return await self._questions.ask(partial(self._experiments.look_up_all, routes))
            except DatabaseUnavailable:
                pass  # not the client's fault: accepted, and looked up once Postgres is back
        self._experiments.accept(routes)
        return {route: route.id for route in routes}


def _destination(route: Route, answer: Answer) -> pb.Destination | Unroutable:
    if isinstance(answer, Unroutable):
        return answer
    if answer is None:  # by name; experiment 0, which is not there yet, by the one that it will have
        return pb.Destination(experiment_name=route.name or DEFAULT, routed_by=route.routed_by)
    return pb.Destination(experiment_id=str(answer), experiment_name=route.name, routed_by=route.routed_by)
