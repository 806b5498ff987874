"""origin: the resources and scopes that spans came with, once each."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE headrace.origin (
            -- BLAKE2b-128 of `origin`, in hex; `spans.content` names it in "otlp".
            digest text PRIMARY KEY,
            -- A serialized opentelemetry.proto.trace.v1.ResourceSpans: the resource and one scope, without spans.
            origin bytea NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE headrace.origin")
