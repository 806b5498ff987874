"""Alembic's entry: migrates the schema `headrace`, and nothing else, on the connection it is given.

Run by `headrace.mlflow.schema.migrate` at start, inside its transaction. By hand: `make migrations` prints the SQL.
"""

from alembic import context

VERSION_TABLE = "schema_version"  # not alembic_version, which is MLflow's and must be found by every search_path
SCHEMA = "headrace"

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, version_table=VERSION_TABLE, version_table_schema=SCHEMA)
else:
    context.configure(
        connection=context.config.attributes["connection"], version_table=VERSION_TABLE, version_table_schema=SCHEMA
    )

with context.begin_transaction():
    context.run_migrations()
