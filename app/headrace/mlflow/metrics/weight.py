"""How many bytes a delivery of metrics becomes when it is written, told before anything of it is built. Pure; no I/O."""

from headrace.mlflow.metrics.names import MAX_NAME
from headrace.mlflow.metrics.translate import Metrics
from headrace.otlp.form import DATA_POINTS

_ROWS = 8
"""Values of a histogram, with its place in `latest_metrics`. A summary has at most one for each 9 bytes on the wire."""
_ROW_BYTES = 100 + MAX_NAME
_BYTES_A_QUANTILE = 9


def weigh(delivery: Metrics, limit: int) -> int:  # noqa: ARG001 - as the weigher of spans
    """The bytes of all rows of the delivery, rather too high."""
    size = delivery.request.ByteSize()
    return size + _ROW_BYTES * min(_ROWS * DATA_POINTS.count(delivery.request), size // _BYTES_A_QUANTILE + 1)
