"""remembered_trace: what the root that decides has said of a trace, and its totals, so that no span is read again."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # root_id: null where no root has come. said: JSON, see app/headrace/mlflow/write/remembered.py.
    op.execute(
        "CREATE TABLE headrace.remembered_trace"
        " (trace_id text PRIMARY KEY, root_id text, said text NOT NULL, used_on date NOT NULL DEFAULT current_date)"
    )
    op.execute("CREATE INDEX remembered_trace_used_on ON headrace.remembered_trace (used_on)")


def downgrade() -> None:
    op.execute("DROP TABLE headrace.remembered_trace")
