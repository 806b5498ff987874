"""When to try again. This module only waits."""

import random
import threading
from collections.abc import Iterator

_FIRST_SECONDS = 0.1
_MAX_SECONDS = 5.0


def attempts(stop: threading.Event, most_seconds: float = _MAX_SECONDS) -> Iterator[int]:
    """Yields 0 at once, then 1, 2, … after pauses with jitter that grow up to `most_seconds`, until `stop` is set.

    Jitter keeps many workers from knocking on a recovering Postgres at the same moment
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    attempt = 0
    while not stop.is_set():
        yield attempt
        longest = min(most_seconds, _FIRST_SECONDS * 2 ** min(attempt, 16))
        stop.wait(random.uniform(longest / 2, longest))  # noqa: S311 - not for secrets
        attempt += 1
