"""Names the spans of a trace that can never be written, and why."""

from collections.abc import Sequence

from headrace.errors import PermanentExportError
from headrace.mlflow.keys import to_otlp_trace_id
from headrace.mlflow.model import Trace, TracePart
from headrace.rejected import RejectedSpans


def rejected(spans_of: Trace | TracePart, reason: str, delivery: int | None = None) -> RejectedSpans:
    """All spans of the trace, or of its part; of one delivery of the batch, if it is named."""
    return RejectedSpans(to_otlp_trace_id(spans_of.trace_id), str(spans_of.experiment_id), reason, delivery)


def refuse(rejected: Sequence[RejectedSpans]) -> None:
    """Raises PermanentExportError if there are any."""
    if rejected:
        raise PermanentExportError(rejected[0].reason, rejected)
