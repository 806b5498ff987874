"""A thread that passes metrics without a run on to HEADRACE_METRICS_FORWARD. It runs beside the worker.

They wait in `headrace.waiting_metrics` (`store/waiting_metrics.py`), where the writer of metrics has put them. They are deleted
once the endpoint has answered: each is sent at least once, unless it waits for too long.
"""

import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from headrace.config import MIB, Config
from headrace.errors import HeadraceError
from headrace.export.endpoint import Answer, Endpoint
from headrace.parts import PartThread
from headrace.store.database import Database
from headrace.store.waiting_metrics import Waiting, borrow, delete, expire, release, size
from headrace.telemetry.logging import log, log_rarely
from headrace.telemetry.waiting import FORWARD_AGE, FORWARD_RETRIES, FORWARD_WAITING, FORWARD_WAITING_BYTES, FORWARDED_POINTS

_PAUSE_SECONDS = 1.0
"""Between two looks at the table, where nothing waits."""
_TIDY_SECONDS = 10.0
"""Between two looks at how much waits."""
_BORROWED_SECONDS = 60.0
_MOST_REQUESTS = 100
_MOST_BYTES = MIB
"""Most that is sent together, unless a single request is larger."""
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_STOP_SECONDS = 2.0
"""How long a stop waits for an export in progress. It is sent again after the next start."""


class Forwarder:
    """Sends what waits, oldest first, and deletes what has waited for too long."""

    def __init__(self, config: Config, database: Database) -> None:
        self._database = database
        self._endpoint = Endpoint(config)
        self._most_seconds = config.metrics_forward_seconds
        self._most_bytes = config.metrics_forward_max_bytes
        self._groups: deque[Sequence[Waiting]] = deque()
        """What is borrowed, in the groups in which it is sent. The first one is on its way."""
        self._failed = 0
        self._tidy_at = 0.0
        self._thread = PartThread("forwarder", self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. An endpoint that hangs does not hold it up."""
        self._thread.stop(_STOP_SECONDS)
        with suppress(HeadraceError):  # then they are due again in a minute
            self._give_back()

    def _run(self) -> None:
        pause = resume_at = 0.0
        while not self._thread.stopping.wait(pause):
            try:
                self._tidy()
                if time.monotonic() >= resume_at:
                    resume_at = time.monotonic() + self._pass_on()
                pause = min(_PAUSE_SECONDS, max(0.0, resume_at - time.monotonic()))
            except HeadraceError as error:  # Postgres is away
                pause = _PAUSE_SECONDS
                log_rarely("metrics wait to be passed on", "forwarder_database", error=str(error))

    def _tidy(self) -> None:
        """Keeps what waits within its bounds, and tells how much it is."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        gone = 0
        while any(expired := expire(self._database, self._most_seconds, self._most_bytes)):
            FORWARDED_POINTS.labels("too_old").inc(expired.too_old)
            FORWARDED_POINTS.labels("too_much").inc(expired.too_much)
            gone += sum(expired)
            if self._thread.stopping.is_set():
                break
        if gone:
            log.warning(
                "metrics were deleted, because HEADRACE_METRICS_FORWARD did not take them in time",
                points=gone,
                hint="See HEADRACE_METRICS_FORWARD_SECONDS, HEADRACE_METRICS_FORWARD_MAX_BYTES.",
            )
        self._tell()

    def _tell(self) -> None:
        waiting = size(self._database)
        FORWARD_WAITING.set(waiting.points)
        FORWARD_WAITING_BYTES.set(waiting.bytes)
        FORWARD_AGE.set(waiting.age)

    def _pass_on(self) -> float:
        """Sends some of what waits. Returns the seconds after which to look again."""
        found = borrow(self._database, _BORROWED_SECONDS, _MOST_REQUESTS, _MOST_BYTES)
        if not found:
            return _PAUSE_SECONDS
        self._groups = groups = deque[Sequence[Waiting]]([found])
        while groups and not self._thread.stopping.is_set():
            answer = self._endpoint.send(b"".join(each.request for each in groups[0]))  # in protobuf they become one request
            if answer.outcome == "later":
                self._give_back()
                return self._wait(answer)
            group = groups.popleft()
            if answer.outcome == "refused" and len(group) > 1:
                groups.extendleft([each] for each in reversed(group))  # one may be at fault, and not the others
            else:
                self._settle(group, answer)
        return 0.0

    def _give_back(self) -> None:
        """Gives back what was borrowed and not answered."""
        groups, self._groups = list(self._groups), deque()
        if groups:
            release(self._database, [each.id for group in groups for each in group])

    def _wait(self, answer: Answer) -> float:
        """The seconds to wait before the next try: as the endpoint says, else longer each time, by chance a little less."""
        FORWARD_RETRIES.inc()
        self._tell()
        log_rarely("metrics cannot be passed on now: they wait", "forwarder", reason=answer.said)
        backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2**self._failed) * random.uniform(0.5, 1)  # noqa: S311 - not for secrets
        self._failed = min(self._failed + 1, 10)
        return backoff if answer.wait is None else answer.wait

    def _settle(self, group: Sequence[Waiting], answer: Answer) -> None:
        """Deletes what was answered, and counts it."""
        delete(self._database, [each.id for each in group])
        self._failed = 0
        points = sum(each.points for each in group)
        if answer.outcome == "refused":
            FORWARDED_POINTS.labels("refused").inc(points)
            log_rarely("HEADRACE_METRICS_FORWARD refused metrics: they are lost", "forwarder_refused", reason=answer.said)
            return
        rejected = min(points, answer.rejected)
        FORWARDED_POINTS.labels("sent").inc(points - rejected)
        FORWARDED_POINTS.labels("rejected").inc(rejected)
        if answer.said or rejected:
            log_rarely(
                "HEADRACE_METRICS_FORWARD rejected some metrics", "forwarder_rejected", points=rejected, reason=answer.said
            )
