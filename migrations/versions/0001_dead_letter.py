"""dead_letter: spans that could not be written, with the bytes and the reason."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE headrace.dead_letter (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            -- SHA-256 of the spans and their destination: the same failure twice is one letter.
            digest bytea NOT NULL UNIQUE,
            created_at timestamptz NOT NULL DEFAULT now(),
            received_at timestamptz NOT NULL,
            reason text NOT NULL,
            experiment_id text NOT NULL,
            experiment_name text NOT NULL,
            user_agent text NOT NULL,
            trace_id text,
            span_id text,
            -- A serialized headrace.v1.Envelope (proto/headrace/v1/envelope.proto), ready to be replayed.
            envelope bytea NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX dead_letter_created_at ON headrace.dead_letter (created_at)")


def downgrade() -> None:
    op.execute("DROP TABLE headrace.dead_letter")
