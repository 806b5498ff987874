"""Every tag, metadata key and attribute upon which MLflow's server acts, and what Headrace makes of a client's. No I/O.

A client sends tags as `mlflow.traceTag.<key>` on a root span, and as resource attributes; of those, none that begins with
`mlflow.` becomes a tag. It sends attributes on spans. It has no way to send metadata.

Source: mlflow/tracing/constant.py, mlflow/utils/mlflow_tags.py, mlflow/server/handlers.py and
mlflow/store/tracking/sqlalchemy_store.py (3.17). A test fails for each key of a later MLflow that is not judged here.
"""

from collections.abc import Mapping

from headrace.mlflow.keys import ARTIFACT_LOCATION, FINALIZED, REQUEST_ID, SPANS_LOCATION, TRACE_NAME, USER

FINISHED = "headrace.finished"
"""The tag of a trace whose root span has not come, and which therefore `write/finish.py` has finished."""

RESERVED_TAGS: Mapping[str, str] = {
    ARTIFACT_LOCATION: "the server reads a trace's attachments and its `traces.json` in the directory or bucket that it names",
    SPANS_LOCATION: "it makes the server look for the trace's spans in its artifacts or its archive",
    "mlflow.trace.archiveLocation": "the server reads an archived trace from the place that it names, and deletes the file "
    "there with the trace",
    "mlflow.trace.archivalFailure": "the server never archives a trace that has it",
    "mlflow.user": "it says who made the trace; MLflow lets nobody change it",
    FINISHED: "Headrace's own note of a trace that it has finished without a root",
}
"""Tags that are dropped and counted when a client sends them → what they would do."""

OTHER_TAGS: Mapping[str, str] = {
    TRACE_NAME: "the trace's name",
    "mlflow.eval.requestId": "read by MLflow's client, in its own process; marks the trace as an evaluation's",
    "mlflow.trace.sourceScorer": "marks the trace as a scorer's; the UI hides it among the evaluated ones",
    "mlflow.linkedPrompts": "shown with the trace; a search for a prompt's traces asks another table",
}
"""Tags that a client may give its own traces → what the server makes of them."""

METADATA: Mapping[str, str] = {
    USER: "Headrace writes it, from the attribute `user.id`",
    FINALIZED: "only MLflow's own client writes it, through MLflow's server: what it has reported stands",
    "mlflow.trace.session": "a column of the trace: Headrace writes it, from `session.id` or `gen_ai.conversation.id`",
    "mlflow.trace.tokenUsage": "columns of the trace: Headrace adds them up from its spans",
    "mlflow.trace.cost": "columns of the trace: Headrace adds them up from its spans",
    "mlflow.sourceRun": "never written: another table links a trace to its run, and only to a run that its sender may change",
    **dict.fromkeys(
        (
            *("mlflow.traceInputs", "mlflow.traceOutputs", "mlflow.modelId", "mlflow.auth.userId", "mlflow.auth.username"),
            *("mlflow.trace.sizeStats", "mlflow.trace.sizeBytes"),
            *("mlflow.gateway.endpointId", "mlflow.gateway.requestType", "mlflow.gateway.caller"),
        ),
        "never written",
    ),
}
"""Metadata of traces, none of which a client can send → who writes it."""

ATTRIBUTES: Mapping[str, str] = {
    REQUEST_ID: "overwritten with the id of the trace in which the span stands",
    "mlflow.experimentId": "kept, and without effect: the trace decides where its spans stand",
    "mlflow.traceTag.": "a tag of the trace, if it is none of the reserved ones",
    "mlflow.gateway.linkedTraceId": "the UI links to that trace, which its reader may read or not",
    **dict.fromkeys(("user.id", "session.id"), "the user and the session of the span's own trace"),
    **dict.fromkeys(
        ("mlflow.chat.tokenUsage", "mlflow.llm.cost", "mlflow.llm.model", "mlflow.llm.provider"),
        "columns of the span; the figures are added up in its own trace",
    ),
    **dict.fromkeys(
        ("mlflow.spanInputs", "mlflow.spanOutputs"),
        "shown, and previews of the span's own trace; an attachment that they name is read with the reader's rights",
    ),
    **dict.fromkeys(
        (
            *("mlflow.spanType", "mlflow.spanLogLevel", "mlflow.spanFunctionName", "mlflow.spanDescription"),
            *("mlflow.spanStartTimeNs", "mlflow.chat.tools", "mlflow.message.format", "mlflow.trace.intermediate_outputs"),
            "mlflow.linkedPrompts",
        ),
        "shown with the span",
    ),
}
"""Attributes of spans, which are kept as they come → what the server makes of them."""
