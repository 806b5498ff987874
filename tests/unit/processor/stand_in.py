"""A resolver for tests without Postgres, held to the same expectations as MLflow's: see resolver_contract.py."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from headrace.config import Config, load
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Request, Sender
from headrace.errors import HeadraceError, PermissionDenied, TooManyExperiments, Unroutable
from headrace.otlp.attributes import to_dict
from headrace.otlp.readable import ReadableHolder
from headrace.processor.authorize import Authorizer, Fate
from headrace.processor.route import Route, route_headers, route_resource
from headrace.processor.verdict import Verdict


@dataclass
class KnownExperiments:
    """A `Resolver` that knows some experiments by name and creates none; `most` of them may be named in one request."""

    ids: Mapping[str, int] = field(default_factory=lambda: {"shop": 7, "stock": 8, "forbidden": 9, "too many": 10})
    forbidden: frozenset[str] = frozenset({"forbidden"})
    """To senders without a key, too."""
    most: int = 2
    deleted: frozenset[str] = frozenset()
    error: HeadraceError | None = None
    """Raised for every request."""

    async def resolve(self, resources: Sequence[ReadableHolder], sender: Sender) -> Sequence[Fate]:
        """See `Resolver`."""
        await asyncio.sleep(0)  # as one that asks Postgres
        if self.error is not None:
            raise self.error
        fixed = route_headers(sender.headers)
        routes = [_route(resource) if fixed is None else fixed for resource in resources]
        within = list(dict.fromkeys(route for route in routes if isinstance(route, Route)))[: self.most]
        return [self._fate(route, sender, within) if isinstance(route, Route) else route for route in routes]

    def is_deleted(self, destination: pb.Destination) -> bool:
        """See `Resolver`."""
        return destination.experiment_name in self.deleted

    def _fate(self, route: Route, sender: Sender, within: Sequence[Route]) -> Fate:
        if route not in within:
            return TooManyExperiments("So many experiments may not be named.")
        if route.name in self.forbidden or (sender.limit is not None and route.name not in sender.limit.names):
            return PermissionDenied(f"The API key may not write to {route.name}.")
        if route.name not in self.ids:
            return Unroutable(f"MLflow has no experiment named {route.name!r}.")
        return pb.Destination(experiment_id=str(self.ids[route.name]), experiment_name=route.name, routed_by=route.routed_by)


@cache
def _config() -> Config:
    return load()


def _route(resource_spans: ReadableHolder) -> Route | Unroutable:
    try:
        return route_resource(to_dict(resource_spans.resource.attributes), _config())
    except Unroutable as error:
        return error


class Authorize:
    """An authorizer as a `Processor`: its resolver does not really wait. Refused as a whole, a request is empty afterwards."""

    def __init__(self, resolver: KnownExperiments | None = None) -> None:
        self._authorizer = Authorizer(resolver or KnownExperiments())

    def process(self, request: Request, verdict: Verdict) -> Request:
        """See `Processor`."""
        if not verdict.accepted:
            return request  # as in the pipeline, which does not ask then
        try:
            return asyncio.run(self._authorizer.authorize(request, verdict))
        except (Unroutable, PermissionDenied):
            request.for_change().Clear()
            return request
