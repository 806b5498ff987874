"""The metrics of `telemetry/metrics.py` in Prometheus' formats: of one process, or of all worker processes together."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    generate_latest,
    multiprocess,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector


class _Workers(Collector):
    """The `process_*` metrics of each worker process. Prometheus' client has them for a single process only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for path in sorted(self._directory.glob("*.pid")):
            for metric in ProcessCollector(pid=path.read_text, registry=None).collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {"worker": path.stem}, sample.value)
        yield from families.values()


def exposition(accept: str = "") -> tuple[bytes, str]:
    """An `Accept` header → the metrics and their content type: OpenMetrics if the header names it, else Prometheus' text
    format.

    If this is one of several worker processes (`host/supervisor.py`), the metrics of all of them.
    """
    registry = REGISTRY
    if directory := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(_Workers(Path(directory)))
    if "application/openmetrics-text" in accept:
        return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
