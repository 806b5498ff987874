"""waiting_log: log records whose span has not come; logged_trace: traces that have spans with log records."""

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = (
    """
    CREATE TABLE headrace.waiting_log (
        -- As MLflow has them: tr- and hex; hex.
        trace_id text NOT NULL,
        span_id text NOT NULL,
        -- Of `record`: the same record that comes twice is one.
        digest text NOT NULL,
        -- A serialized ResourceLogs that holds this record only.
        record bytea NOT NULL,
        -- Where its sender's own traces go, and the experiments that its sender may change, a serialized headrace.v1.Limit.
        experiment_id integer NOT NULL,
        sender_limit bytea,
        noted_at timestamptz NOT NULL DEFAULT now(),
        -- The transactions that may have missed it have ids below this. Null: nobody has looked at it. The greatest number: its
        -- span has been looked for.
        look_at bigint,
        PRIMARY KEY (trace_id, span_id, digest)
    )
    """,
    "CREATE INDEX waiting_log_look_at ON headrace.waiting_log (look_at)",
    "CREATE INDEX waiting_log_noted_at ON headrace.waiting_log (noted_at)",
    "CREATE TABLE headrace.logged_trace (trace_id text PRIMARY KEY)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE headrace.logged_trace, headrace.waiting_log")
