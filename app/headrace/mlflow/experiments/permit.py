"""Which routes an API key does not allow. A key names its experiments by id or name, and so does a request.

Whether the traces that the spans join, and the run that they are linked to, are the key's as well, the writer tells
(`mlflow/write/authority.py`): only there it is known where they stand.
"""

from collections.abc import Collection, Sequence
from functools import partial

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.errors import PermissionDenied
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.ask import Questions
from headrace.processor.route import Route


class Permits:
    """What the keys' experiments are called, and which ids they have."""

    def __init__(self, experiments: Experiments, questions: Questions) -> None:
        self._experiments = experiments
        self._questions = questions

    async def forbidden(self, routes: Sequence[Route], limit: Limit) -> dict[Route, PermissionDenied]:
        """Those routes to which a key with this limit may not write, and what to say. Creates nothing.

        Raises:
            DatabaseUnavailable: that cannot be told now.
        """
        doubtful = [route for route in routes if not _names(limit, route)]
        if not doubtful:
            return {}
        # The key says it by name and the request by id, or the other way round.
        ids = await self._find({route.name for route in doubtful if route.id is None} | limit.names)
        own = {ids[name] for name in limit.names if name in ids} | limit.ids
        named = {route: ids.get(route.name) if route.id is None else route.id for route in doubtful}
        refused = [route for route, id_ in named.items() if id_ is None or id_ not in own]
        return {route: PermissionDenied(_denied(route, limit)) for route in refused}

    async def _find(self, names: Collection[str]) -> dict[str, int]:
        cached = {name: self._experiments.cached(Route(None, name, pb.ROUTED_BY_UNSPECIFIED)) for name in names}
        ids = {name: id_ for name, id_ in cached.items() if id_ is not None}
        if unknown := cached.keys() - ids.keys():
            ids |= await self._questions.ask(partial(self._experiments.find, unknown))
        return ids


def _names(limit: Limit, route: Route) -> bool:
    """Whether the limit names the route's experiment as the route does."""
    return route.name in limit.names if route.id is None else route.id in limit.ids


def _denied(route: Route, limit: Limit) -> str:
    return f"The API key may not write to the experiment {route.name or route.id}, only to: {limit}."
