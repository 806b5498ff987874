"""MLflow's own names, each in one place: attributes, tags and metadata that begin with `mlflow.`, and the form of a trace id.

Source: mlflow/tracing/constant.py (3.17).
"""

PREFIX = "mlflow."

REQUEST_ID = "mlflow.traceRequestId"
SPAN_TYPE = "mlflow.spanType"
SPAN_INPUTS = "mlflow.spanInputs"
SPAN_OUTPUTS = "mlflow.spanOutputs"
TOKEN_USAGE = "mlflow.chat.tokenUsage"  # noqa: S105 - no password
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
TOOLS = "mlflow.chat.tools"
CHAT_MESSAGES = "mlflow.chat.messages"
MESSAGE_FORMAT = "mlflow.message.format"
LINKED_PROMPTS = "mlflow.linkedPrompts"
"""Attributes of spans, as MLflow's client sends and its translation makes them."""

TAG_PREFIX = "mlflow.traceTag."
"""An attribute `mlflow.traceTag.x` of a root span becomes the tag `x` of its trace."""
TRACE_NAME = "mlflow.traceName"
SPANS_LOCATION = "mlflow.trace.spansLocation"
"""The tag by which MLflow finds a trace's spans."""
TRACKING_STORE = "TRACKING_STORE"
"""Its value: in the table `spans`."""
ARTIFACT_LOCATION = "mlflow.artifactLocation"
"""The tag by which MLflow finds a trace's artifacts."""

SERVICE = "service.name"
"""The tag in which MLflow keeps the service that a trace's spans came from."""
MLFLOW_SERVICE = "mlflow"
"""The service of spans that MLflow itself has written, of which it keeps none."""

FINALIZED = "mlflow.trace.infoFinalized"
"""Metadata: MLflow's own client has reported the whole trace, `start_trace`."""
USER = "mlflow.trace.user"
"""Metadata: the trace's user."""
TRACE_SESSION = "mlflow.trace.session"
TRACE_TOKENS = "mlflow.trace.tokenUsage"
TRACE_COST = "mlflow.trace.cost"
"""Metadata before 3.17: the trace's session, and its totals as JSON."""

_TRACE_ID = "tr-"


def to_trace_id(otlp: bytes) -> str:
    """OTLP's trace id → MLflow's."""
    return f"{_TRACE_ID}{otlp.hex()}"


def to_otlp_trace_id(trace_id: str) -> bytes:
    """The inverse of `to_trace_id`."""
    return bytes.fromhex(trace_id.removeprefix(_TRACE_ID))
