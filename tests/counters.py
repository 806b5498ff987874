"""Headrace's counters, read as Prometheus would."""

from prometheus_client import REGISTRY


def count(sample: str, **labels: str) -> float:
    """The value of a sample, `headrace_spans_written_total` for example; 0 where nothing was counted yet."""
    return REGISTRY.get_sample_value(sample, labels) or 0.0
