"""The reasons for which requests are refused, as they are counted."""

import re
from collections.abc import Iterator

from headrace.errors import HeadraceError, QueueError, QueueLocked, RateLimited, RequestError


def _refusals(error: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    """A class of errors and all classes below it."""
    yield error
    for below in error.__subclasses__():
        yield from _refusals(below)


REFUSALS = {
    error: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error.__name__).lower()
    for root in (RequestError, RateLimited, QueueError)
    for error in _refusals(root)
    if error not in (QueueError, QueueLocked)  # QueueError itself is never raised, QueueLocked only at the start
}
"""Class of an error that refuses a request → the reason that is counted."""
