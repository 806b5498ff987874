"""The composition root: settings → running parts, in one process or in several."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a worker's metrics are made to be shared before they are made: nothing here may import them
    from headrace.store.database import Database


class Host(Protocol):
    """Runs the receiver and the writer. It takes its ports when it is made: `port` for HTTP, `grpc_port` for gRPC.

    Implementations: `OneProcess`, `Supervisor`.
    """

    port: int
    grpc_port: int

    def open(self, database_url: str) -> "Database":
        """Opens the queues. Returns the database with this URL, so that its schema can be checked.

        Raises:
            QueueLocked, QueueUnavailable: the data directory is in use, or cannot be written.
        """

    def run(self, on_ready: Callable[[], None], check: Callable[[], None]) -> None:
        """Runs until a signal. Calls `on_ready` once requests are taken, and `check` every second.

        Raises:
            StartError: a part cannot start, or has ended without being asked. Also whatever `check` raises: that stops all
                parts.
        """
