"""What was found when somebody last looked at MLflow's tables: for `/readyz`, the metrics, and people who wait."""

import time
from dataclasses import dataclass, field

from headrace.mlflow.installed import version
from headrace.mlflow.shape import Schema
from headrace.mlflow.shape.known import SHAPES
from headrace.telemetry.metrics import TABLES_FIT


@dataclass(slots=True)
class Tables:
    """The last look of a writer. Any thread may read it; the writer's thread notes."""

    schema: Schema | None = None
    waits_for: str = ""
    """Why writing waits for other tables. Empty: it does not."""
    since: float = field(default_factory=time.time)

    def note(self, schema: Schema) -> None:
        """They can be written."""
        self.schema, self.waits_for, self.since = schema, "", time.time()
        TABLES_FIT.set(1)

    def note_misfit(self, reason: str) -> None:
        """They cannot be written, or not as before: writing waits."""
        if not self.waits_for:
            self.since = time.time()
        self.waits_for = reason
        TABLES_FIT.set(0)

    def describe(self) -> dict[str, object]:
        """For `/readyz`: MLflow's release here, the shapes that are written, and what the database has."""
        said: dict[str, object] = {"mlflow": version(), "writes": [str(shape) for shape in SHAPES]}
        if self.schema is not None:
            said |= describe_schema(self.schema)
        return said | ({"waits_for": self.waits_for} if self.waits_for else {})


def describe_schema(schema: Schema) -> dict[str, object]:
    """What a database has."""
    said: dict[str, object] = {
        "revision": schema.revision,
        "shape": str(schema.shape) if schema.shape else "none of these",
        "writer": "bulk" if schema.shape else "MLflow's own store",
    }
    if schema.differences:
        said["differences"] = list(schema.differences)
    return said | ({"added": list(schema.watchers)} if schema.watchers else {})
