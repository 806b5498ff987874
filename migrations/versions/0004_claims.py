"""movable_trace: by which span's claim a trace stands where it does, so that a better one moves it, whatever comes first."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE headrace.movable_trace
            -- `Claim` of fold/rows.py: the smallest counts. What is there already gives way to a root only, as before.
            ADD COLUMN rank smallint NOT NULL DEFAULT 2,
            ADD COLUMN start bigint NOT NULL DEFAULT 0,
            ADD COLUMN span_id text NOT NULL DEFAULT '',
            -- After a week it is forgotten, and the trace stays where it is.
            ADD COLUMN noted_at timestamptz NOT NULL DEFAULT now()
        """
    )
    op.execute("CREATE INDEX movable_trace_noted_at ON headrace.movable_trace (noted_at)")


def downgrade() -> None:
    op.execute(
        """
        ALTER TABLE headrace.movable_trace DROP COLUMN rank, DROP COLUMN start, DROP COLUMN span_id, DROP COLUMN noted_at
        """
    )
