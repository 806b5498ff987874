"""Whether a request's sender may write where its records want to go: those that may not, or lead nowhere, are taken out.

What an experiment is, and which there are, others know: the `Resolver`.
"""

from collections.abc import Sequence
from typing import Protocol

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import AnyRequest, Sender
from headrace.errors import PermissionDenied, TooManyExperiments, UnknownRun, Unroutable
from headrace.otlp.readable import ReadableHolder
from headrace.processor.verdict import Verdict

Refusal = Unroutable | PermissionDenied
Fate = pb.Destination | Refusal
"""The destination of a resource's records, or the reason why they have none."""


class Resolver(Protocol):
    """Knows where the records of a resource go. tests/unit/processor/resolver_contract.py says what is expected of it."""

    async def resolve(self, resources: Sequence[ReadableHolder], sender: Sender) -> Sequence[Fate]:
        """The fate of each of these resources of one request, in their order.

        Raises: Unroutable: the sender's headers name no possible experiment. RateLimited: it would create too many experiments
        now. DatabaseUnavailable: the sender's rights cannot be checked now.
        """

    def is_deleted(self, destination: pb.Destination) -> bool:
        """Whether a destination is an experiment that is deleted, as far as that is known. No I/O."""


class Authorizer:
    """The last step before the queue. It is no `Processor` because it may have to wait for its resolver."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def authorize(self, request: AnyRequest, verdict: Verdict) -> AnyRequest:
        """Gives each resource of the request its destination. Resources without one are taken out.

        Raises: Unroutable, PermissionDenied: no resource has a destination; the reason is that of the first one. Also what the
        resolver raises.
        """
        try:
            fates = await self._resolver.resolve(request.resources, request.sender)
            destinations = _destinations(fates)
        except (Unroutable, PermissionDenied) as error:
            verdict.reject(_reason(error), verdict.accepted)
            raise
        if len(destinations) < len(fates):
            _take_out(request, fates, verdict)
        request.destinations = destinations
        self._warn(request, verdict)
        return request

    def _warn(self, request: AnyRequest, verdict: Verdict) -> None:
        """Warns of records that go into a deleted experiment. Nobody sees them there until the experiment is restored."""
        for resource, destination in zip(request.resources, request.destinations, strict=True):
            if self._resolver.is_deleted(destination):
                verdict.warn("deleted_experiment", request.signal.form.count_in(resource))


def _destinations(fates: Sequence[Fate]) -> list[pb.Destination]:
    """The destinations among the fates. If there is none, raises the first refusal."""
    destinations = []
    first: Refusal | None = None
    for fate in fates:
        if isinstance(fate, pb.Destination):
            destinations.append(fate)
        elif first is None:
            first = fate
    if first is not None and not destinations:
        raise first
    return destinations


def _take_out(request: AnyRequest, fates: Sequence[Fate], verdict: Verdict) -> None:
    """Keeps only the resources that have a destination."""
    form, message = request.signal.form, request.for_change()
    kept = form.request()
    for resource, fate in zip(form.resources_of(message), fates, strict=True):
        if isinstance(fate, pb.Destination):
            getattr(kept, form.resources).append(resource)
        else:
            verdict.reject(_reason(fate), form.count_in(resource))
            if isinstance(fate, UnknownRun):
                verdict.details.setdefault("unknown_run", str(fate).rstrip("."))
    message.CopyFrom(kept)


def _reason(refusal: Refusal) -> str:
    """The reason of `REASONS` under which a refusal is counted."""
    if isinstance(refusal, TooManyExperiments):
        return "too_many_experiments"
    if isinstance(refusal, UnknownRun):
        return "unknown_run"
    return "no_experiment" if isinstance(refusal, Unroutable) else "forbidden_experiment"
