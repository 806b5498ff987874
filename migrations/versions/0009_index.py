"""index: what traces are found by: their services and operations, and who calls whom, hour by hour."""

from alembic import op

revision = "0009"
down_revision = "0008"

TABLES = (
    """
    CREATE TABLE headrace.operation (
        experiment_id integer NOT NULL,
        service text NOT NULL,
        name text NOT NULL,
        -- OTLP's Span.SpanKind.
        kind smallint NOT NULL,
        -- When a span of it was written last.
        seen_on date NOT NULL,
        PRIMARY KEY (experiment_id, service, name, kind)
    )
    """,
    """
    CREATE TABLE headrace.trace_service (
        trace_id text NOT NULL,
        service text NOT NULL,
        -- When the first span of this service in this trace began, in nanoseconds since 1970.
        start_ns bigint NOT NULL,
        PRIMARY KEY (trace_id, service)
    )
    """,
    "CREATE INDEX trace_service_newest ON headrace.trace_service (service, start_ns DESC)",
    """
    CREATE TABLE headrace.origin_service (
        -- As in headrace.origin; `spans.content` names it in "otlp".
        digest text PRIMARY KEY,
        service text NOT NULL
    )
    """,
    """
    CREATE TABLE headrace.edge (
        -- Of the start of the called span, in hours since 1970.
        hour integer NOT NULL,
        experiment_id integer NOT NULL,
        caller text NOT NULL,
        callee text NOT NULL,
        -- Writers take different ones, so that they do not wait for each other. A reader adds them up.
        slot smallint NOT NULL,
        calls bigint NOT NULL,
        errors bigint NOT NULL,
        -- Of all calls together, in nanoseconds.
        duration_ns numeric NOT NULL,
        PRIMARY KEY (hour, experiment_id, caller, callee, slot)
    )
    """,
    """
    CREATE TABLE headrace.waiting_call (
        trace_id text NOT NULL,
        parent_span_id text NOT NULL,
        span_id text NOT NULL,
        service text NOT NULL,
        start_ns bigint NOT NULL,
        duration_ns bigint NOT NULL,
        error boolean NOT NULL,
        noted_on date NOT NULL DEFAULT current_date,
        PRIMARY KEY (trace_id, parent_span_id, span_id)
    )
    """,
    "CREATE INDEX waiting_call_noted_on ON headrace.waiting_call (noted_on)",
)


def upgrade() -> None:
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    for table in ("waiting_call", "edge", "origin_service", "trace_service", "operation"):
        op.execute(f"DROP TABLE headrace.{table}")
