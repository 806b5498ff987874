"""Moves the items of workers that no longer exist into worker 0's queue. This is done before any request is received.

An item is first offered (and fsynced) and then deleted. After a crash between the two, its rows are written a second time,
which changes nothing.
"""

import shutil
import sys
from contextlib import closing
from pathlib import Path

from headrace.errors import QueueError, QueueLocked
from headrace.queue.disk.directories import queue_directories, queue_directory
from headrace.queue.disk.file import lock
from headrace.queue.disk.queue import DiskQueue
from headrace.telemetry.logging import log

_CHUNK_BYTES = 8 * 1024 * 1024


def adopt_leftovers(data_dir: Path, workers: int) -> None:
    """Empties the queues of workers that `workers` does not count any more into worker 0's, and removes them.

    One that cannot be read, or whose owner lives, is left as it is, and said so.

    Raises:
        QueueLocked, QueueUnavailable: worker 0's own queue is in use, or cannot be written.
    """
    check_unused(data_dir)
    found = leftovers(data_dir, workers)
    if not found:
        return
    # Without a limit: these items are on this disk already. While they are over it, new ones are refused as ever.
    with closing(DiskQueue(queue_directory(data_dir, 0), sys.maxsize)) as into:
        for directory in found:
            try:
                items = adopt(directory, into)
            except QueueLocked as error:
                log.warning("queue of a former worker is in use: left alone", directory=str(directory), error=str(error))
            except QueueError as error:
                log.error("queue of a former worker cannot be adopted: left alone", directory=str(directory), error=str(error))
            else:
                log.info("queue of a former worker adopted", directory=str(directory), requests=items)


def check_unused(data_dir: Path) -> None:
    """Checks that no other Headrace uses this data directory, before anything in it is changed. Returns nothing.

    Raises:
        QueueLocked, QueueUnavailable: it is in use, or cannot be written.
    """
    lock(queue_directory(data_dir, 0)).close()


def leftovers(data_dir: Path, workers: int) -> list[Path]:
    """The directories of the queues with the number `workers` or a higher one."""
    known = {queue_directory(data_dir, worker) for worker in range(workers)}
    return [path for path in queue_directories(data_dir) if path not in known]


def adopt(directory: Path, into: DiskQueue) -> int:
    """Moves every item of the queue in `directory` to the end of `into`, then removes the directory. Returns how many.

    Raises:
        QueueLocked: its owner still runs. QueueUnavailable: one of the two queues cannot be read or written.
    """
    moved = 0
    with closing(DiskQueue(directory, 0)) as left:
        while items := left.claim(_CHUNK_BYTES, 0):
            for future in [into.offer(item.envelope) for item in items]:
                future.result()
            left.settle(items)
            moved += len(items)
    shutil.rmtree(directory, ignore_errors=True)  # what stays of it is empty, or moves again: both do no harm
    return moved
