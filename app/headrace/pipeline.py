"""What the receivers call for each decoded request: it checks the request and stores it in the queue. This module does not know
HTTP, gRPC or MLflow."""

import asyncio
from collections.abc import Sequence

from headrace import tracing
from headrace.config import Config
from headrace.envelope.incoming import Request
from headrace.errors import RequestError
from headrace.processor import Processor, chain
from headrace.processor.authorize import Authorizer
from headrace.processor.budget import Budget
from headrace.processor.validate import Validate
from headrace.processor.verdict import Verdict
from headrace.queue import Queue
from headrace.telemetry.metrics import SPANS_ACCEPTED, SPANS_RECEIVED, SPANS_REJECTED, SPANS_REPAIRED


def processors(config: Config) -> tuple[Processor, ...]:
    """The processors that every request passes through, in this order."""
    return Validate(), Budget(config.max_rows_per_request, config.max_tags_per_trace)


class Pipeline:
    """Processors in order → authorize → offer."""

    def __init__(self, processors: Sequence[Processor], authorizer: Authorizer, queue: Queue) -> None:
        self._processors = processors
        self._authorizer = authorizer
        self._queue = queue

    async def consume(self, request: Request) -> Verdict:
        """Returns once the spans that can be accepted are durable. The verdict says what became of the others.

        Raises:
            RequestError: nothing of the request can be accepted, now or ever.
            RateLimited, QueueError, DatabaseUnavailable: nothing was stored; the client shall send it again later.
        """
        verdict = Verdict.of(request)
        try:
            request = chain(self._processors, request, verdict)
            if verdict.received and not verdict.accepted:
                raise RequestError(verdict.explain())
            if verdict.accepted:
                request = await self._authorizer.authorize(request, verdict)
                await self._offer(request)
        finally:
            _count(verdict)
        SPANS_ACCEPTED.inc(verdict.accepted)
        return verdict

    async def _offer(self, request: Request) -> None:
        """Returns once the request would survive a power cut."""
        envelope = request.to_envelope()
        tracing.offered(envelope)
        await asyncio.wrap_future(self._queue.offer(envelope))


def _count(verdict: Verdict) -> None:
    SPANS_RECEIVED.inc(verdict.received)
    for reason, count in verdict.rejected.items():
        SPANS_REJECTED.labels(reason).inc(count)
    for rule, count in (verdict.repaired + verdict.warned).items():
        SPANS_REPAIRED.labels(rule).inc(count)
