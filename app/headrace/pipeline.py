"""What the receivers call for each decoded request: it checks the request and stores it in the queue. This module does not know
HTTP, gRPC or MLflow."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace import tracing
from headrace.config import Config
from headrace.envelope.incoming import AnyRequest
from headrace.errors import RequestError
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal
from headrace.processor import Processor, chain
from headrace.processor.authorize import Authorizer
from headrace.processor.budget import Budget
from headrace.processor.logs import ValidateLogs
from headrace.processor.points import Points
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict
from headrace.queue import Queue
from headrace.telemetry.records import COUNTERS


def processors(config: Config) -> dict[Signal, Sequence[Processor]]:
    """The processors that every request of a signal passes through, in this order."""
    return {
        TRACES: (Validate(), Budget(config.max_rows_per_request, config.max_tags_per_trace)),
        LOGS: (ValidateLogs(config.enrich, config.least_severity, config.max_rows_per_request),),
        METRICS: (Points(config.max_points_per_request, bool(config.metrics_forward)),),
    }


class Steps(NamedTuple):
    """What a request of one signal passes through before it is queued."""

    processors: Sequence[Processor]
    authorizer: Authorizer


class Pipeline:
    """Processors in order → authorize → offer. The same for every signal."""

    def __init__(self, steps: Mapping[Signal, Steps], queue: Queue) -> None:
        self._steps = steps
        self._queue = queue

    async def consume(self, request: AnyRequest) -> Verdict:
        """Returns once the records that can be accepted are durable. The verdict says what became of the others.

        Raises:
            RequestError: nothing of the request can be accepted, now or ever. If no record of a signal that is not strict can
                be stored, wherever it goes, that is no error: the verdict says it.
            RateLimited, QueueError, DatabaseUnavailable: nothing was stored; the client shall send it again later.
        """
        steps = self._steps[request.signal]
        verdict = Verdict.of(request)
        try:
            request = chain(steps.processors, request, verdict)
            if verdict.accepted:
                request = await steps.authorizer.authorize(request, verdict)
                await self._offer(request)
            elif verdict.received and request.signal.strict:
                raise RequestError(verdict.explain())
        finally:
            _count(verdict)
        COUNTERS[request.signal.name].accepted.inc(verdict.accepted)
        return verdict

    async def _offer(self, request: AnyRequest) -> None:
        """Returns once the request would survive a power cut."""
        envelope = request.to_envelope()
        tracing.offered(envelope)
        await asyncio.wrap_future(self._queue.offer(envelope))


def _count(verdict: Verdict) -> None:
    counters = COUNTERS[verdict.signal.name]
    counters.received.inc(verdict.received)
    for reason, count in verdict.rejected.items():
        counters.rejected(reason).inc(count)
    for rule, count in (verdict.repaired + verdict.warned).items():
        counters.repaired(rule).inc(count)
