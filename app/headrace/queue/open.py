"""Which `Queue` the settings ask for."""

from headrace.config import Config
from headrace.queue import Queue
from headrace.queue.disk.directories import queue_directory
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.shared import SharedQueue


def open_queue(config: Config, worker: int = 0) -> Queue:
    """Opens the queue of the process with this number of HEADRACE_WORKERS.

    A single process has a `DiskQueue`. Of several, each has a `SharedQueue` with a file of its own.

    Raises:
        QueueLocked: another process owns the queue. QueueUnavailable: it cannot be written, or a later Headrace wrote it.
    """
    limits = config.queue_max_bytes, config.min_free_bytes, config.queue_resume_percent
    directories = [queue_directory(config.data_dir, number) for number in range(config.workers)]
    if config.workers == 1:
        return DiskQueue(directories[0], *limits)
    return SharedQueue(directories, worker, *limits)
