"""Which `Queue` the settings ask for."""

from headrace.config import Config
from headrace.config.kafka import KafkaUrl
from headrace.queue import Queue
from headrace.queue.disk.directories import queue_directory
from headrace.queue.disk.inspect import used_queues
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.shared import SharedQueue
from headrace.queue.kafka.open import open_kafka
from headrace.queue.kafka.queue import Adopt, KafkaQueue, Parts
from headrace.queue.spill import SpillQueue


def open_queue(config: Config, worker: int = 0, adopt: Adopt | None = None, parts: Parts | None = None) -> Queue:
    """Opens the queue of the process with this number of HEADRACE_WORKERS.

    On disk, a single process has a `DiskQueue`; of several, each has a `SharedQueue` with a file of its own. With
    HEADRACE_QUEUE_URL, each has a `KafkaQueue`, which `adopt` tells what others have written there. `parts`: which of its parts
    are used. The disk queue is opened beside it for HEADRACE_SPILL, or if it still holds requests, which then go to Kafka.

    Raises:
        QueueLocked: another process owns the queue. QueueUnavailable: it cannot be written, or a later Headrace wrote it.
        StartError: Kafka's topic cannot be the queue.
    """
    if config.kafka is not None:
        return _in_kafka(config, config.kafka, worker, adopt or (lambda *_: ()), parts or Parts())
    limits = config.queue_max_bytes, config.min_free_bytes, config.queue_resume_percent
    directories = [queue_directory(config.data_dir, number) for number in range(config.workers)]
    if config.workers == 1:
        return DiskQueue(directories[0], *limits)
    return SharedQueue(directories, worker, *limits)


def _in_kafka(config: Config, url: KafkaUrl, worker: int, adopt: Adopt, parts: Parts) -> Queue:
    directory = queue_directory(config.data_dir, worker)
    spills, left = config.spill == "disk", directory in used_queues(config.data_dir)
    disk = None
    if parts.sends and (spills or left):
        disk = DiskQueue(directory, config.queue_max_bytes, config.min_free_bytes, config.queue_resume_percent)
    try:
        queue: KafkaQueue = open_kafka(config, url, adopt, parts)
    except BaseException:
        if disk is not None:
            disk.close()
        raise
    return queue if disk is None else SpillQueue(queue, disk, config.batch_max_bytes, spills)
