"""What happens to a request between the wire and the queue: impossible spans out, no more rows than the budget, authorized.

A processor is handed a request and a verdict. It may only read `request.message`; to change it, it takes it with
`request.for_change()`, after which the queue is given the message, and never the bytes that were sent. Every processor passes
the contract suite of tests/unit/processor/test_contract.py.
"""

from collections.abc import Iterable
from typing import Protocol

from headrace.envelope.incoming import Request
from headrace.processor.verdict import Verdict


class Processor(Protocol):
    """A step on the way to the queue. It keeps the order of what stays, and does no I/O."""

    def process(self, request: Request, verdict: Verdict) -> Request:
        """Returns the request, changed or not, or another one in its place.

        Every span that it takes out is counted in `verdict` by its reason, and every repair by its rule. What it has returned
        once it lets pass as it is.
        """


def chain(processors: Iterable[Processor], request: Request, verdict: Verdict) -> Request:
    """Hands the request from one processor to the next; all of them note on one verdict."""
    for processor in processors:
        request = processor.process(request, verdict)
    return request
