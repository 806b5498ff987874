"""Whether a request's sender may write where its spans want to go: spans that may not, or lead nowhere, are taken out.

What an experiment is, and which there are, others know: the `Resolver`.
"""

from collections.abc import Sequence
from typing import Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Request, Sender
from headrace.errors import PermissionDenied, TooManyExperiments, Unroutable
from headrace.otlp.readable import ReadableRequest
from headrace.processor.verdict import Verdict

Refusal = Unroutable | PermissionDenied
Fate = pb.Destination | Refusal
"""The destination of a resource's spans, or the reason why they have none."""


class Resolver(Protocol):
    """Knows where the spans of a resource go. tests/unit/processor/resolver_contract.py says what is expected of it."""

    async def resolve(self, message: ReadableRequest, sender: Sender) -> Sequence[Fate]:
        """The fate of each of the message's resources, in their order.

        Raises: Unroutable: the sender's headers name no possible experiment. RateLimited: it would create too many experiments
        now. DatabaseUnavailable: the sender's rights cannot be checked now.
        """

    def is_deleted(self, destination: pb.Destination) -> bool:
        """Whether a destination is an experiment that is deleted, as far as that is known. No I/O."""


class Authorizer:
    """The last step before the queue. It is no `Processor` because it may have to wait for its resolver."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def authorize(self, request: Request, verdict: Verdict) -> Request:
        """Gives each resource of the request its destination. Resources without one are taken out.

        Raises: Unroutable, PermissionDenied: no resource has a destination; the reason is that of the first one. Also what the
        resolver raises.
        """
        try:
            fates = await self._resolver.resolve(request.message, request.sender)
            destinations = _destinations(fates)
        except (Unroutable, PermissionDenied) as error:
            verdict.reject(_reason(error), verdict.accepted)
            raise
        if len(destinations) < len(fates):
            _take_out(request.for_change(), fates, verdict)
        request.destinations = destinations
        self._warn(request, verdict)
        return request

    def _warn(self, request: Request, verdict: Verdict) -> None:
        """Warns of spans that go into a deleted experiment. Nobody sees them there until the experiment is restored."""
        for resource_spans, destination in zip(request.message.resource_spans, request.destinations, strict=True):
            if self._resolver.is_deleted(destination):
                verdict.warn("deleted_experiment", sum(len(scope.spans) for scope in resource_spans.scope_spans))


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


def _take_out(message: ExportTraceServiceRequest, fates: Sequence[Fate], verdict: Verdict) -> None:
    """Keeps only the resources that have a destination."""
    kept = ExportTraceServiceRequest()
    for resource_spans, fate in zip(message.resource_spans, fates, strict=True):
        if isinstance(fate, pb.Destination):
            kept.resource_spans.append(resource_spans)
        else:
            verdict.reject(_reason(fate), sum(len(scope.spans) for scope in resource_spans.scope_spans))
    message.CopyFrom(kept)


def _reason(refusal: Refusal) -> str:
    """The reason of `REASONS` under which a refusal is counted."""
    if isinstance(refusal, TooManyExperiments):
        return "too_many_experiments"
    return "no_experiment" if isinstance(refusal, Unroutable) else "forbidden_experiment"
