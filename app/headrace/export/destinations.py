"""Looks up the experiments of requests that came while Postgres was away. Such a request has only the names of its experiments,
not their ids."""

from dataclasses import replace

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import AnyDelivery
from headrace.errors import PermanentExportError, Unroutable
from headrace.mlflow.experiments import Experiments
from headrace.processor.route import Route


class Destinations:
    """Looks up experiments by name. It remembers names that have no experiment, and does not look them up again until
    `ask_again` is called."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments
        self._unroutable: dict[str, str] = {}

    def ask_again(self) -> None:
        """Forgets which names had no experiment, because an experiment may have been created since."""
        self._unroutable.clear()

    def fill(self, delivery: AnyDelivery) -> AnyDelivery:
        """The delivery with an experiment id for each resource that has records.

        Raises: PermanentExportError: there is no such experiment. DatabaseUnavailable, ExperimentsNotReady: it is not known
        now; try again later.
        """
        self._experiments.wait_for_mlflow()
        if all(destination.experiment_id for destination in delivery.destinations):
            return delivery
        try:
            form = delivery.signal.form
            counts = map(form.count_in, form.resources_of(delivery.request))
            destinations = tuple(map(self._resolve, counts, delivery.destinations))
        except Unroutable as error:
            raise PermanentExportError(str(error)) from error
        return replace(delivery, destinations=destinations)

    def _resolve(self, records: int, destination: pb.Destination) -> pb.Destination:
        if destination.experiment_id or destination.run_id or destination.forward or not records:
            # Metrics that are passed on have no experiment. A resource without records goes nowhere, so it may not fail for
            # want of a place.
            return destination
        route = Route(None, destination.experiment_name, destination.routed_by)
        id_ = self._experiments.cached(route)
        if id_ is None:
            id_ = self._look_up(route)
        return _with_id(destination, id_)

    def _look_up(self, route: Route) -> int:
        if reason := self._unroutable.get(route.name):
            raise Unroutable(reason)
        try:
            return self._experiments.look_up(route)
        except Unroutable as error:
            self._unroutable[route.name] = str(error)
            raise


def _with_id(destination: pb.Destination, id_: int) -> pb.Destination:
    found = pb.Destination(experiment_id=str(id_))
    found.MergeFrom(destination)
    return found
