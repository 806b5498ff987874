"""waiting_metrics: metrics without a run, until the endpoint of HEADRACE_METRICS_FORWARD has taken them."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE headrace.waiting_metrics (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            -- A checksum of the request, so that what is written twice waits once.
            digest bytea NOT NULL UNIQUE,
            -- A serialized ExportMetricsServiceRequest.
            request bytea NOT NULL,
            points integer NOT NULL,
            noted_at timestamptz NOT NULL DEFAULT now(),
            -- When it may be sent: who sends it sets this to a later time first.
            due_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE headrace.waiting_metrics")
