"""What load balancers, Prometheus and people ask: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import time
from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request, Response

from app.database import Database, Reachability
from app.errors import QueueError
from app.processor.experiments import Experiments
from app.queue import Queue, Size
from app.receiver.exposition import exposition
from app.telemetry import QUEUE_AGE_SECONDS, QUEUE_BYTES, QUEUE_ITEMS, QUEUE_MAX_BYTES, READY

_METRICS_WAIT_SECONDS = 1.0
"""So long may Postgres hold up the metrics, which are wanted most when it hangs: it is asked once at a time, and the answer
counts whenever it comes."""

_READY_WAIT_SECONDS = 2.0
"""A load balancer that gets no answer takes us for dead, although requests are accepted while Postgres hangs."""


def health_router(queue: Queue, database: Database, experiments: Experiments) -> APIRouter:
    """The three routes, over this queue and this database."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """200 while the process lives and its event loop turns."""
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        """200 while requests can be accepted, 503 otherwise. Postgres may be away: requests are accepted all the same."""
        try:
            reach = await asyncio.wait_for(asyncio.to_thread(database.probe), _READY_WAIT_SECONDS)
        except asyncio.TimeoutError:
            database.note(f"no answer within {_READY_WAIT_SECONDS:g} s")
            reach = database.state
        try:
            size = queue.size()
        except QueueError as error:
            response.status_code = 503
            return {"status": "not ready", "reason": str(error), "database": _database(reach)}
        response.status_code = 503 if size.refusal else 200
        return {
            "status": "not ready" if size.refusal else "ready",
            **({"reason": size.refusal} if size.refusal else {}),
            **({"waits_for": experiments.waits_for} if experiments.waits_for else {}),
            "queue": {
                "requests": size.items,
                "bytes": size.bytes,
                "max_bytes": size.max_bytes,
                "oldest_seconds": round(_age(size), 3),
            },
            "database": _database(reach),
        }

    asking: asyncio.Future[Reachability] | None = None

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """OpenMetrics or Prometheus' text format; of several workers the sums, whichever of them answers."""
        nonlocal asking
        if asking is None or asking.done():
            asking = asyncio.ensure_future(asyncio.to_thread(database.probe))
        await asyncio.wait([asking], timeout=_METRICS_WAIT_SECONDS)
        body, content_type = await asyncio.to_thread(_metrics, queue, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router


def _metrics(queue: Queue, accept: str) -> tuple[bytes, str]:
    try:
        size = queue.size()
    except QueueError:
        READY.set(0)  # how full it is stays as it was last known
    else:
        READY.set(not size.refusal)
        QUEUE_BYTES.set(size.bytes)
        QUEUE_MAX_BYTES.set(size.max_bytes)
        QUEUE_ITEMS.set(size.items)
        QUEUE_AGE_SECONDS.set(_age(size))
    return exposition(accept)


def _age(size: Size) -> float:
    return max(0.0, (time.time_ns() - size.oldest_unix_nano) / 1e9) if size.oldest_unix_nano else 0.0


def _database(reach: Reachability) -> dict[str, Any]:
    since = datetime.fromtimestamp(reach.since, timezone.utc).isoformat(timespec="seconds")
    return {"reachable": bool(reach.up), "since": since, **({"error": reach.error} if reach.error else {})}
