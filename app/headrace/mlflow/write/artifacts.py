"""Where MLflow keeps what belongs to a trace and stands in no table."""

from collections.abc import Sequence

from headrace.mlflow.keys import ARTIFACT_LOCATION
from headrace.mlflow.model import Trace
from headrace.mlflow.write.refuse import refuse, rejected
from headrace.mlflow.write.statements import STATEMENTS, Rows


class ArtifactLocations:
    """The artifact locations of the experiments that one writer knows."""

    def __init__(self) -> None:
        self._roots: dict[int, str] = {}

    def forget(self) -> None:
        """The next look tells which of the experiments are still there."""
        self._roots.clear()

    def add(self, cursor: Rows, traces: Sequence[Trace]) -> None:
        """The tag that MLflow gives each new trace: `<experiment's artifact location>/traces/<id>/artifacts`."""
        if unknown := sorted({trace.experiment_id for trace in traces} - set(self._roots)):
            cursor.execute(STATEMENTS["read_artifact_roots"], {"ids": unknown})
            self._roots |= {id_: location or "" for id_, location in cursor}
        refuse(
            [
                rejected(trace, f"MLflow has no experiment with id {trace.experiment_id}.")
                for trace in traces
                if trace.experiment_id not in self._roots
            ]
        )
        for trace in traces:
            root, mark, query = self._roots[trace.experiment_id].partition("?")
            location = f"{root.rstrip('/')}/traces/{trace.trace_id}/artifacts{mark}{query}"
            trace.tags[ARTIFACT_LOCATION] = location
