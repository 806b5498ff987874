"""Which routes an API key does not allow. A key names its experiments by id or name, and so does a request."""

from collections.abc import Collection, Sequence
from functools import partial

from headrace.envelope import envelope_pb2 as pb
from headrace.errors import PermissionDenied
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.experiments.ask import Questions
from headrace.processor.route import Route

_MOST_NAMED = 10
"""Of a key's experiments, in what its user is told."""


class Permits:
    """What the keys' experiments are called, and which ids they have."""

    def __init__(self, experiments: Experiments, questions: Questions) -> None:
        self._experiments = experiments
        self._questions = questions

    async def forbidden(self, routes: Sequence[Route], allowed: frozenset[str]) -> dict[Route, PermissionDenied]:
        """Those routes to which a key for these experiments may not write, and what to say. Creates nothing.

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
            ids |= await self._questions.ask(partial(self._experiments.find, unknown))
        return ids


def _denied(route: Route, allowed: frozenset[str]) -> str:
    most = ", ".join(sorted(allowed)[:_MOST_NAMED])
    return f"The API key may not write to the experiment {route.name or route.id}, only to: {most}."
