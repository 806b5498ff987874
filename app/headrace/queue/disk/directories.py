"""Which directories of the data directory are queues: one for each process of HEADRACE_WORKERS."""

from pathlib import Path


def queue_directory(data_dir: Path, worker: int) -> Path:
    """The directory of a worker's queue. Worker 0 uses the same directory as a single process."""
    return data_dir / (f"queue-{worker}" if worker else "queue")


def queue_directories(data_dir: Path) -> list[Path]:
    """The directories of all queues: first that of worker 0, which may not exist yet, then those of the others."""
    numbers = [path.name.removeprefix("queue-") for path in data_dir.glob("queue-*")]
    return [queue_directory(data_dir, number) for number in sorted({0, *(int(text) for text in numbers if text.isdecimal())})]
