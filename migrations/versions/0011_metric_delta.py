"""metric_delta: sums of intervals, of which metrics of MLflow's runs are running sums."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE headrace.metric_delta (
            run_uuid text NOT NULL,
            -- The metric's name in MLflow.
            key text NOT NULL,
            -- When the interval ends, in nanoseconds since 1970.
            ends_ns bigint NOT NULL,
            -- A checksum of the sender's resource and of the start of the interval.
            stream bigint NOT NULL,
            step bigint NOT NULL,
            value double precision NOT NULL,
            -- The sum of all intervals that end no later, as it was written to MLflow's table.
            total double precision,
            noted_on date NOT NULL DEFAULT current_date,
            PRIMARY KEY (run_uuid, key, ends_ns, stream)
        )
        """
    )
    op.execute("CREATE INDEX metric_delta_noted_on ON headrace.metric_delta (noted_on)")


def downgrade() -> None:
    op.execute("DROP TABLE headrace.metric_delta")
