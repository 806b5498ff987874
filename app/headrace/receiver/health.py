"""`/healthz`, `/readyz` and `/metrics`, for load balancers, Prometheus and people. gRPC's health service uses `refusal`."""

import asyncio
import time
from datetime import datetime, timezone
from typing import Any

from fastapi import APIRouter, Request, Response

from headrace.errors import QueueError
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.tables import Tables
from headrace.parts import Down, down
from headrace.queue import Queue, Size
from headrace.receiver.exposition import exposition
from headrace.store.database import Database, Reachability
from headrace.telemetry.metrics import QUEUE_AGE_SECONDS, QUEUE_BYTES, QUEUE_ITEMS, QUEUE_MAX_BYTES, READY

_METRICS_WAIT_SECONDS = 1.0
"""Longest wait of `/metrics` for Postgres: metrics are needed most when Postgres hangs. One question runs at a time; a later
answer counts for the next scrape."""

_READY_WAIT_SECONDS = 2.0
"""Longest wait of `/readyz` for Postgres. Without an answer a load balancer would take us for dead, though we accept requests
while Postgres hangs."""


def health_router(queue: Queue, database: Database, experiments: Experiments, tables: Tables) -> APIRouter:
    """The three routes. They report on this queue, this database, and what is known of its experiments and tables."""
    health = _Health(queue, database, experiments, tables)
    router = APIRouter()
    for path, answer in (("/healthz", health.healthz), ("/readyz", health.readyz), ("/metrics", health.metrics)):
        router.get(path)(answer)
        router.head(path, include_in_schema=False)(answer)
    return router


class _Health:
    """What the routes answer. FastAPI shows the docstring of each in `/openapi.json`."""

    def __init__(self, queue: Queue, database: Database, experiments: Experiments, tables: Tables) -> None:
        self._queue = queue
        self._database = database
        self._experiments = experiments
        self._tables = tables
        self._asking: asyncio.Future[Reachability] | None = None

    async def healthz(self, response: Response) -> dict[str, Any]:
        """200 while every server, thread and task of the process runs. 503 names those that do not."""
        missing = down()
        if not missing:
            return {"status": "alive"}
        response.status_code = 503
        return {"status": "not alive", "down": [_part(part) for part in missing]}

    async def readyz(self, response: Response) -> dict[str, Any]:
        """200 while requests can be accepted, else 503. Postgres being away is no reason for 503: requests are accepted."""
        database = _database(await self._reachability())
        try:
            size = self._queue.size()
        except QueueError as error:
            response.status_code = 503
            return {"status": "not ready", "reason": str(error), "database": database}
        reason, waits_for = _refusal(size), self._experiments.waits_for
        response.status_code = 503 if reason else 200
        return {
            "status": "not ready" if reason else "ready",
            **({"reason": reason} if reason else {}),
            **({"waits_for": waits_for} if waits_for else {}),
            "queue": _queue(size),
            "database": database,
            "schema": self._tables.describe(),
        }

    async def metrics(self, request: Request) -> Response:
        """OpenMetrics or Prometheus' text format. With several worker processes, each of them answers for all."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._database.probe))
        await asyncio.wait([self._asking], timeout=_METRICS_WAIT_SECONDS)
        body, content_type = await asyncio.to_thread(_metrics, self._queue, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def _reachability(self) -> Reachability:
        """Whether Postgres answers now. If that cannot be asked, what was noted last."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(self._database.probe), _READY_WAIT_SECONDS)
        except asyncio.TimeoutError:
            self._database.note(f"no answer within {_READY_WAIT_SECONDS:g} s")
        except RuntimeError:  # the system has no thread left
            pass
        return self._database.state


def _metrics(queue: Queue, accept: str) -> tuple[bytes, str]:
    try:
        size = queue.size()
    except QueueError:
        READY.set(0)  # the other gauges keep their last values
    else:
        READY.set(not _refusal(size))
        QUEUE_BYTES.set(size.bytes)
        QUEUE_MAX_BYTES.set(size.max_bytes)
        QUEUE_ITEMS.set(size.items)
        QUEUE_AGE_SECONDS.set(_age(size))
    return exposition(accept)


def refusal(queue: Queue) -> str:
    """Why requests cannot be accepted now. Empty: they can."""
    try:
        return _refusal(queue.size())
    except QueueError as error:
        return str(error)


def _refusal(size: Size) -> str:
    """As `refusal`, from the queue's size."""
    missing = [f"{part.part} ({part.error})" for part in down() if part.takes_requests]
    return size.refusal or (f"Parts of Headrace are being started again: {', '.join(missing)}." if missing else "")


def _part(part: Down) -> dict[str, str]:
    return {"part": part.part, "since": _time(part.since), "error": part.error}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _age(size: Size) -> float:
    return max(0.0, (time.time_ns() - size.oldest_unix_nano) / 1e9) if size.oldest_unix_nano else 0.0


def _queue(size: Size) -> dict[str, Any]:
    return {
        "requests": size.items,
        "bytes": size.bytes,
        "max_bytes": size.max_bytes,
        "oldest_seconds": round(_age(size), 3),
    }


def _database(reach: Reachability) -> dict[str, Any]:
    return {"reachable": bool(reach.up), "since": _time(reach.since), **({"error": reach.error} if reach.error else {})}
