"""movable_trace: traces that stand where a rule or the default put them, until their root span says where they belong."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE TABLE headrace.movable_trace (trace_id text PRIMARY KEY)")


def downgrade() -> None:
    op.execute("DROP TABLE headrace.movable_trace")
