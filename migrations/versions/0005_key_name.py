"""key_name: which API key a dead letter came with."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE headrace.dead_letter ADD COLUMN key_name text NOT NULL DEFAULT ''")


def downgrade() -> None:
    op.execute("ALTER TABLE headrace.dead_letter DROP COLUMN key_name")
