"""MLflow's tables as older releases have them, made of the installed release's by its own migrations, run backwards."""

from conftest import name_of

from headrace.config import sqlalchemy_url

HEAD_OF = {"3.16": "b7e2c1a4d9f3", "3.15": "c3d9e7f1a2b4", "before 3.14": "7d34483879f0"}
"""Release → the revision of its schema."""


def downgrade(url: str, release: str) -> None:
    """Brings a database back to the schema of this release of MLflow."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config

    assert name_of(url)
    command.downgrade(_get_alembic_config(sqlalchemy_url(url).replace("%", "%%")), HEAD_OF[release])  # type: ignore[no-untyped-call]
