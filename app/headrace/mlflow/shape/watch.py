"""A writer's watch on MLflow's tables: were they upgraded since it was opened?"""

from sqlalchemy import Connection

from headrace.errors import TablesChanged
from headrace.mlflow.shape import Schema, look, mlflow_revision, still_at
from headrace.store.database import Database


class Watch:
    """Remembers how MLflow's tables were when a writer was opened for them."""

    def __init__(self, database: Database, schema: Schema | None) -> None:
        """`schema`: None, they fit, at the revision that they have when somebody asks first."""
        self._database = database
        self._revision = schema.revision if schema else ""
        self._differences = schema.differences if schema else ()

    def check(self, connection: Connection) -> None:
        """The last statement of each transaction. Raises TablesChanged: see `still_at`."""
        if not self._revision:
            self._revision = mlflow_revision(connection) or ""
        still_at(connection, self._revision)

    def look_again(self) -> None:
        """After Postgres has refused rows by a rule of the tables: are they still as they were? See `Writer.look_again`."""
        with self._database.begin() as connection:
            schema = look(connection)
            if schema is None or schema.differences != self._differences:
                what = [*schema.differences, "They fit the bulk writer now."][0] if schema else "They are gone."
                raise TablesChanged(f"MLflow's tables have changed underneath: {what}")
            self.check(connection)
