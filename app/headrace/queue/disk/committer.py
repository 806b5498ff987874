"""The disk queue's writer thread: one transaction, one fsync, for everything that waits."""

import sqlite3
import time
from contextlib import suppress

from headrace.errors import QueueUnavailable
from headrace.parts import PartThread
from headrace.queue.disk.ledger import Ledger, Round, Trouble
from headrace.queue.disk.lost import LostFiles
from headrace.queue.disk.storage import PROBE, Storage, deletes, inserts
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import QUEUE_COMMIT_SECONDS

PROBE_SECONDS = 1.0
"""How often, in seconds, an idle writer checks that its files still exist, and tries a disk that has refused a write."""

_LOST_PROBE_SECONDS = 0.2
"""How often, in seconds, it looks for files that are gone."""

_RETRY_SECONDS = 0.1
"""How often, in seconds, it retries deletes on a full disk. No client waits for a delete."""

_SPARE_BYTES = 32 * 1024 * 1024
_SPARE_BYTES_WHEN_FULL = 1024 * 1024
_LITTLE_BYTES = 4 * 1024 * 1024
"""The file is compacted when more than 32 MiB of it are free and less than 4 MiB are queued; already from 1 MiB on while
requests are refused, for its own free pages may be what the disk lacks. (`auto_vacuum` would do it at any time, but SQLite then
writes more at each commit: a fifth fewer requests a second.)"""


class Committer:
    """Commits what waits in the ledger, and acknowledges it. If a commit fails, its offers are refused, and its deletes are
    tried again later."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._ledger = ledger
        self._storage = storage
        self._lost = LostFiles(ledger, storage)
        self._freed = _SPARE_BYTES  # since the last look at the free pages; the file may have some from before
        self._oldest = 0
        self._thread = PartThread("queue", self._run, takes_requests=True)

    def start(self) -> None:
        """Counts what the file holds, then starts the thread.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        self._ledger.recount(*self._storage.count())
        self._note_oldest()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread once it has done all work that is left in the ledger. The ledger must be closed before."""
        self._thread.stop()

    def _run(self) -> None:
        """The thread's body. It first reads from the file what is in it, because after a fault it is not known what was
        committed."""
        if self._ledger.trouble(Trouble.WRITER_ENDED):
            self._ask_the_file()
        while due := self._ledger.next_round(_LOST_PROBE_SECONDS if self._lost.are_lost else PROBE_SECONDS):
            try:
                self._work(due)
            except BaseException as error:
                kind = type(error).__name__
                self._ledger.writer_ended(
                    due, f"The queue's writer has ended ({kind}) and is started again: send the batch again."
                )
                raise

    def _ask_the_file(self) -> None:
        """Counts the items in the file. All of them are kept, whether they were acknowledged or not."""
        if self._storage.half_made:
            self._storage.make_again()
        self._storage.roll_back()
        settled = self._ledger.take_settled()
        try:
            for statement in deletes(settled):
                self._storage.transact([statement])
            self._ledger.recount(*self._storage.count())
        except BaseException:
            self._ledger.settle_again(settled)
            raise

    def _work(self, due: Round) -> None:
        """Does one round. While the files are lost, nothing is stored in them; their items are still read, and deletes are
        still written."""
        if self._lost.are_lost and not self._lost.find():
            self._ledger.refuse(due.offers, self._lost.reason)
            due = Round([], due.settled)
            if self._storage.half_made:
                self._try_deletes_again(due)
                return
        if due.offers or due.settled or self._ledger.trouble(Trouble.DISK_REFUSES):
            self.commit(due)
        else:
            self._lost.note(self._storage.lost())
        if due.settled and not due.offers:
            self._compact()

    def commit(self, due: Round) -> None:
        """Writes the round in one transaction. Offers that cannot be written are refused. An empty round only tests the
        disk."""
        started = time.perf_counter()
        statements = deletes(due.settled) + inserts([offer.envelope for offer in due.offers], time.time_ns())
        try:
            last = self._storage.transact(statements or [PROBE])
        except sqlite3.Error as error:
            self._abandon(due, error)
            return
        QUEUE_COMMIT_SECONDS.observe(time.perf_counter() - started)
        lost = self._storage.lost()  # before anything is acknowledged
        self._lost.note(lost)
        self._freed += self._ledger.committed(due, last)
        reason = self._lost.reason
        for offer in due.offers:
            offer.end(QueueUnavailable(reason) if lost else None)
        if due.settled or not self._oldest:
            self._note_oldest()

    def _abandon(self, due: Round, error: sqlite3.Error) -> None:
        """Handles a commit that failed, for example on a full disk: clients are told to send again later, and deletes are tried
        again."""
        self._storage.roll_back()
        if not self._ledger.trouble(Trouble.DISK_REFUSES):
            log.error("queue cannot write to its disk", error=str(error))
        reason = f"The queue cannot write to its disk ({error}): free some space, or make it writable, then send again."
        self._ledger.set_trouble(Trouble.DISK_REFUSES, reason)
        self._ledger.refuse(due.offers, reason)
        self._try_deletes_again(due)

    def _try_deletes_again(self, due: Round) -> None:
        if self._ledger.settle_again(due.settled):
            time.sleep(_RETRY_SECONDS)

    def _note_oldest(self) -> None:
        """The age of the oldest item, for an observer. It is not asked for otherwise, because each statement has to wait; see
        `Storage.transact`."""
        if self._ledger.is_observed:
            with suppress(QueueUnavailable):  # a failing disk is reported by what needs it; an age may be old
                self._oldest = self._storage.oldest()
                self._ledger.set_oldest(self._oldest)

    def _compact(self) -> None:
        """Gives free pages back to the disk, if a drained backlog has left many of them and little is queued."""
        spare = _SPARE_BYTES_WHEN_FULL if self._ledger.is_full else _SPARE_BYTES
        if self._freed < spare or self._ledger.queued_bytes > _LITTLE_BYTES:
            return
        self._freed = 0
        if self._storage.free_bytes() > spare:
            self._storage.give_back()
