"""waiting_log.position: where a log record stood, in its request, among those of its span and time."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE headrace.waiting_log ADD COLUMN position integer NOT NULL DEFAULT 0")


def downgrade() -> None:
    op.execute("ALTER TABLE headrace.waiting_log DROP COLUMN position")
