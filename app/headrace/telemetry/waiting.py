"""The metrics of what waits in Postgres: log records for their span, and metrics to be passed on."""

from headrace.telemetry.families import counter, gauge

LOGS_JOINED = counter("headrace_logs_joined", "Log records that were joined with their span.")
LOGS_EXPIRED = counter(
    "headrace_logs_expired",
    "Log records that never joined a span, or were not kept with it. `too_old`: the span did not come in time "
    "(`HEADRACE_LOGS_WAIT_SECONDS`). `too_much`: too many bytes waited (`HEADRACE_LOGS_WAIT_MAX_BYTES`). `over_span`: the span "
    "has as many log records as it may have (`HEADRACE_MAX_LOGS_PER_SPAN`, `HEADRACE_MAX_LOG_BYTES_PER_SPAN`). `foreign`: "
    "their API key may not change the trace. `unwritable`: the span cannot be written with them. `no_place`: spans are written "
    "through MLflow's own store, which has no place for log records.",
    reason=("too_old", "too_much", "over_span", "foreign", "unwritable", "no_place"),
)
LOGS_WAITING = gauge("headrace_logs_waiting", "Log records that wait for their span.")
LOGS_WAITING_BYTES = gauge("headrace_logs_waiting_bytes", "Bytes of log records that wait for their span.")
FORWARDED_POINTS = counter(
    "headrace_forwarded_points",
    "Data points that were to be passed on to `HEADRACE_METRICS_FORWARD`. `sent`: the endpoint took them. `rejected`: the "
    "endpoint took their request, but not these points. `refused`: the endpoint refused their request for good. `too_old`: "
    "deleted because they waited too long (`HEADRACE_METRICS_FORWARD_SECONDS`). `too_much`: deleted because too many bytes "
    "waited (`HEADRACE_METRICS_FORWARD_MAX_BYTES`).",
    outcome=("sent", "rejected", "refused", "too_old", "too_much"),
)
FORWARD_RETRIES = counter("headrace_forward_retries", "Exports to `HEADRACE_METRICS_FORWARD` that failed and are tried again.")
FORWARD_WAITING = gauge("headrace_forward_waiting_points", "Data points that wait for `HEADRACE_METRICS_FORWARD`.")
FORWARD_WAITING_BYTES = gauge("headrace_forward_waiting_bytes", "Bytes of metrics that wait for `HEADRACE_METRICS_FORWARD`.")
FORWARD_AGE = gauge(
    "headrace_forward_oldest_age_seconds", "Age of the oldest metrics that wait for `HEADRACE_METRICS_FORWARD`, in seconds."
)
