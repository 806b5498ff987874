"""Records of a batch that can never be written, as a writer names them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RejectedSpans:
    """The spans of one trace in one experiment, all of which can never be written, and why."""

    trace_id: bytes
    experiment_id: str
    reason: str
    delivery: int | None = None
    """Index of the delivery in the batch whose spans are rejected; another sender may be allowed to write the same. None: the
    spans of all deliveries."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """One record of a delivery that can never be written, and why."""

    number: int
    """Its place among all records of the delivery, in their order, from 0."""
    reason: str
    delivery: int
    """Index of the delivery in the batch."""


Rejected = RejectedSpans | RejectedRecord
