"""edge_day: the calls between services, day by day, so that a week's map adds up days and not hours."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE headrace.edge_day (
            -- Of the start of the called span, in days since 1970 (UTC). The other columns are those of headrace.edge.
            day integer NOT NULL,
            experiment_id integer NOT NULL,
            caller text NOT NULL,
            callee text NOT NULL,
            slot smallint NOT NULL,
            calls bigint NOT NULL,
            errors bigint NOT NULL,
            duration_ns numeric NOT NULL,
            PRIMARY KEY (day, experiment_id, caller, callee, slot)
        )
        """
    )
    op.execute(
        """
        INSERT INTO headrace.edge_day
        SELECT floor(hour / 24.0)::int, experiment_id, caller, callee, slot, sum(calls), sum(errors), sum(duration_ns)
        FROM headrace.edge GROUP BY 1, 2, 3, 4, 5
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE headrace.edge_day")
