"""What happens to a request between the wire and the queue: impossible records are taken out, the number of rows is limited,
and the sender's rights are checked.

A processor gets a request and a verdict. It may only read `request.message`. To change the message, it calls
`request.for_change()`; from then on the queue stores the message, and never the bytes that were sent. Every processor passes
the contract suite of tests/unit/processor/test_contract.py.
"""

from collections.abc import Iterable
from typing import Protocol

from headrace.envelope.incoming import AnyRequest
from headrace.processor.verdict import Verdict


class Processor(Protocol):
    """A step on the way to the queue. It keeps the order of what stays, and does no I/O."""

    def process(self, request: AnyRequest, verdict: Verdict) -> AnyRequest:
        """Returns the request, changed or not, or another request in its place.

        Every record that it takes out is counted in `verdict` by its reason, and every repair by its rule. A request that it
        returned once passes a second time without a change.
        """


def chain(processors: Iterable[Processor], request: AnyRequest, verdict: Verdict) -> AnyRequest:
    """Passes the request from one processor to the next. All of them count in the same verdict."""
    for processor in processors:
        request = processor.process(request, verdict)
    return request
