"""unfinished_trace: traces whose root span has not come, and when something of them was written last."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("CREATE TABLE headrace.unfinished_trace (trace_id text PRIMARY KEY, written_at timestamptz NOT NULL)")
    op.execute("CREATE INDEX unfinished_trace_written_at ON headrace.unfinished_trace (written_at)")


def downgrade() -> None:
    op.execute("DROP TABLE headrace.unfinished_trace")
