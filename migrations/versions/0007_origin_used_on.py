"""origin: when each was used last, and by which trace, so that those of deleted traces can be deleted."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # Both are metadata alone: Postgres rewrites no row. An origin that is there already counts as used today.
    op.execute("ALTER TABLE headrace.origin ADD COLUMN used_on date NOT NULL DEFAULT current_date")
    # A trace that has a span of this origin; null: none is known.
    op.execute("ALTER TABLE headrace.origin ADD COLUMN trace_id text")
    op.execute("CREATE INDEX origin_used_on ON headrace.origin (used_on)")


def downgrade() -> None:
    op.execute("DROP INDEX headrace.origin_used_on")
    op.execute("ALTER TABLE headrace.origin DROP COLUMN trace_id")
    op.execute("ALTER TABLE headrace.origin DROP COLUMN used_on")
