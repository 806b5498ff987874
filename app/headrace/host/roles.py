"""What a process of Headrace does: all of it, or one side of a queue that others share."""

from enum import Enum


class Role(Enum):
    """The commands that run receivers and writers."""

    SERVE = "serve"
    RECEIVE = "receive"
    """Takes requests, and puts them into the queue."""
    WRITE = "write"
    """Takes them out of the queue, and writes them. It has no port of OTLP's; its HTTP port answers `/healthz`, `/readyz` and
    `/metrics`."""

    @property
    def receives(self) -> bool:
        """Whether it takes requests."""
        return self is not Role.WRITE

    @property
    def writes(self) -> bool:
        """Whether it writes to Postgres."""
        return self is not Role.RECEIVE
