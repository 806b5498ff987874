"""The `TraceReader` over Postgres: MLflow's rows, and those of schema `headrace`."""

from collections.abc import Iterator
from typing import Any

from headrace.config.reading import Reading
from headrace.errors import StartError
from headrace.mlflow.keys import MLFLOW_SERVICE, SERVICE
from headrace.reader import (
    Activity,
    Edge,
    Experiment,
    Experiments,
    Operation,
    Query,
    ReadTrace,
    Runs,
    SearchResult,
)
from headrace.reader.connections import ReadConnections, Rows
from headrace.reader.runs import read_runs
from headrace.reader.search import END_OF_TIME, PREFIX, find, is_otlp_id, service_name
from headrace.reader.spans import StoredSpan, grouped, of_service, parse
from headrace.reader.statements import (
    ACTIVITY,
    EDGES,
    EXPERIMENTS,
    OPERATIONS,
    ORIGINS,
    SERVICES,
    SPANS,
    STANDING,
    TABLES_ARE_THERE,
    TAGGED_SERVICE,
)
from headrace.telemetry.metrics import READS_CUT

_MS_NS = 1_000_000
_HOUR_NS = 3_600_000_000_000
_DAY_HOURS = 24


class PostgresReader:
    """See `TraceReader`. Any number of threads may use it."""

    def __init__(self, url: str, config: Reading) -> None:
        self._connections = ReadConnections(url, config)
        self._config = config

    def check(self) -> None:
        """Whether Headrace's own tables are there.

        Raises:
            StartError: they are not.
            DatabaseUnavailable: Postgres does not answer now.
        """
        with self._connections.cursor() as cursor:
            cursor.execute(TABLES_ARE_THERE)
            if cursor.fetchone() != (True,):
                raise StartError(
                    "The database has no tables of this Headrace yet: start `headrace serve` or `headrace up` on it once, "
                    "which makes them."
                )

    def close(self) -> None:
        """Closes its connections."""
        self._connections.close()

    def trace(self, trace_id: str, experiments: Experiments = None) -> ReadTrace | None:
        """See `TraceReader.trace`."""
        if not is_otlp_id(trace_id):
            return None
        with self._connections.cursor() as cursor:
            cursor.execute(STANDING, {"id": PREFIX + trace_id})
            standing = cursor.fetchone()
            if standing is None or (experiments is not None and standing[0] not in experiments):
                return None
            limits = {"bytes": self._config.read_max_bytes, "rows": self._config.read_max_rows}
            cursor.execute(SPANS, {"id": PREFIX + trace_id, **limits})
            rows = cursor.fetchall()
            spans = [parse(bytes.fromhex(trace_id), StoredSpan(*row)) for *row, _ in rows]
            origins = self._origins(cursor, {span.digest for span in spans} - {""})
            if any(not span.digest for span in spans):
                cursor.execute(TAGGED_SERVICE, {"id": PREFIX + trace_id, "key": SERVICE})
                tagged = cursor.fetchone()
                origins[""] = of_service(tagged[0] if tagged else MLFLOW_SERVICE)
        if not spans:
            return None
        complete = len(rows) == rows[0][-1]
        if not complete:
            READS_CUT.labels("trace").inc()
        return ReadTrace(standing[0], grouped(spans, origins), complete)

    def _origins(self, cursor: Rows, digests: set[str]) -> dict[str, bytes]:
        if not digests:
            return {}
        cursor.execute(ORIGINS, {"digests": sorted(digests), "bytes": self._config.read_max_bytes})
        return {digest: bytes(origin) for digest, origin in cursor}

    def search(self, query: Query) -> SearchResult:
        """See `TraceReader.search`."""
        with self._connections.cursor() as cursor:
            result = find(cursor, query, self._config)
        if not result.complete:
            READS_CUT.labels("search").inc()
        return result

    def services(self, experiments: Experiments = None) -> list[str]:
        """See `TraceReader.services`."""
        return [service for (service,) in self._rows("services", SERVICES, experiments=_ids(experiments))]

    def operations(self, service: str, experiments: Experiments = None) -> list[Operation]:
        """See `TraceReader.operations`."""
        rows = self._rows("operations", OPERATIONS, service=service_name(service), experiments=_ids(experiments))
        return [Operation(*row) for row in rows]

    def dependencies(self, since: int, until: int, experiments: Experiments = None) -> list[Edge]:
        """See `TraceReader.dependencies`."""
        rows = self._rows("dependencies", EDGES, **_hours_and_days(since, until), experiments=_ids(experiments))
        return [Edge(caller, callee, calls, errors, int(duration)) for caller, callee, calls, errors, duration in rows]

    def experiments(self) -> list[Experiment]:
        """See `TraceReader.experiments`."""
        return [Experiment(*row) for row in self._rows("experiments", EXPERIMENTS)]

    def activity(self, experiments: Experiments = None) -> list[Activity]:
        """See `TraceReader.activity`."""
        with self._connections.cursor() as cursor:
            cursor.execute(ACTIVITY, {"experiments": _ids(experiments)})
            return [Activity(Experiment(id_, name), last * _MS_NS) for id_, name, last in cursor]

    def runs(self, experiment_id: int) -> Runs:
        """See `TraceReader.runs`."""
        with self._connections.cursor() as cursor:
            found = read_runs(cursor, experiment_id, self._config)
        if not found.complete:
            READS_CUT.labels("runs").inc()
        return found

    def _rows(self, what: str, statement: str, **parameters: object) -> Iterator[Any]:
        most = self._config.read_max_rows
        with self._connections.cursor() as cursor:
            cursor.execute(statement, {**parameters, "rows": most})
            rows = cursor.fetchall()
        if len(rows) == most:
            READS_CUT.labels(what).inc()
        return iter(rows)


def _hours_and_days(since: int, until: int) -> dict[str, int]:
    """The hours between these times, both included, as three parts: `since` … `before`; whole days, `first_day` … `end_day`;
    `after` … `until`. `before` and `end_day` are not included. Where no day is whole, the last part has all hours."""
    first, last = max(0, since) // _HOUR_NS, min(max(0, until), END_OF_TIME) // _HOUR_NS
    first_day, end_day = -(-first // _DAY_HOURS), (last + 1) // _DAY_HOURS
    if end_day <= first_day:
        return {"since": first, "before": first, "first_day": 0, "end_day": 0, "after": first, "until": last}
    before, after = first_day * _DAY_HOURS, end_day * _DAY_HOURS
    return {"since": first, "before": before, "first_day": first_day, "end_day": end_day, "after": after, "until": last}


def _ids(experiments: Experiments) -> list[int] | None:
    return None if experiments is None else sorted(experiments)
