"""The writer of metrics: any number of requests → one Postgres transaction.

It leaves the tables `metrics` and `latest_metrics` as MLflow's `SqlAlchemyStore.log_batch` does: a value that is there already
stays, and the latest value is the one with the highest step, then time, then value.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from headrace.config import Config
from headrace.envelope import Delivery
from headrace.errors import PermanentExportError
from headrace.mlflow.metrics.deltas import Sums, add
from headrace.mlflow.metrics.forward import NOT_SET, forwarded_of, unforwarded_of
from headrace.mlflow.metrics.names import Naming
from headrace.mlflow.metrics.runs import Runs
from headrace.mlflow.metrics.shape import misfit
from headrace.mlflow.metrics.steps import Placed, earliest
from headrace.mlflow.metrics.translate import Metrics, Origin, Row, Target, Values, translate
from headrace.mlflow.shape.watch import Watch
from headrace.mlflow.text import Repairs
from headrace.mlflow.write import TooMuch, Translated
from headrace.mlflow.write.statements import Rows, transaction
from headrace.rejected import RejectedRecord
from headrace.store.database import Database
from headrace.store.waiting_metrics import add as add_waiting
from headrace.telemetry.logging import log

_BYTES_A_VALUE = 200
_KNOWN = "SELECT run_uuid, key FROM latest_metrics WHERE run_uuid = ANY (%s)"
_INSERT = """
    INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)
    SELECT * FROM unnest(%s::text[], %s::float8[], %s::int8[], %s::int8[], %s::bool[], %s::text[])
    ON CONFLICT DO NOTHING
"""
_DELETE = """
    DELETE FROM metrics m USING unnest(%s::text[], %s::float8[], %s::int8[], %s::int8[], %s::bool[], %s::text[])
        AS t (key, value, timestamp, step, is_nan, run_uuid)
    WHERE (m.key, m.timestamp, m.step, m.run_uuid, m.value, m.is_nan)
        = (t.key, t.timestamp, t.step, t.run_uuid, t.value, t.is_nan)
"""
_LATEST = """
    INSERT INTO latest_metrics AS l (key, value, timestamp, step, is_nan, run_uuid)
    SELECT * FROM unnest(%s::text[], %s::float8[], %s::int8[], %s::int8[], %s::bool[], %s::text[])
        AS t (key, value, timestamp, step, is_nan, run_uuid)
    ORDER BY run_uuid, key
    ON CONFLICT (key, run_uuid) DO UPDATE SET
        value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan
    WHERE (excluded.step, excluded.timestamp, excluded.value) > (l.step, l.timestamp, l.value)
"""
_LATEST_AGAIN = """
    UPDATE latest_metrics l SET value = m.value, timestamp = m.timestamp, step = m.step, is_nan = m.is_nan
    FROM (
        SELECT DISTINCT ON (m.run_uuid, m.key) m.* FROM metrics m
        JOIN unnest(%s::text[], %s::text[]) AS t (run_uuid, key) ON m.run_uuid = t.run_uuid AND m.key = t.key
        ORDER BY m.run_uuid, m.key, m.step DESC, m.timestamp DESC, m.value DESC
    ) m WHERE l.run_uuid = m.run_uuid AND l.key = m.key
"""

_Values = Mapping[Target, Values]


class MetricsWriter:
    """A `Writer` of metrics."""

    def __init__(
        self,
        database: Database,
        naming: Naming,
        steps: Sequence[str],
        max_names: int,
        why_not: str = "",
        forwards: bool = False,
    ) -> None:
        """`steps`: the attributes that say the step. `max_names`: most different metrics of a run. `why_not`: why MLflow's
        tables cannot be written; empty: they can. `forwards`: whether metrics without a run are passed on."""
        self._why_not = why_not
        self._forwards = forwards
        self._database = database
        self._naming = naming
        self._steps = steps
        self._max_names = max_names
        self._watch = Watch(database, None)

    def translate(self, deliveries: Sequence[Metrics], most: int | None = None) -> Translated[_Values]:
        """See `Writer.translate`."""
        repaired: Repairs = Counter()
        found = translate(deliveries, self._naming, self._steps, repaired)
        if (
            most is not None
            and _BYTES_A_VALUE * sum(len(held.rows) + len(held.stepped) + len(held.deltas) for held in found.values()) > most
        ):
            raise TooMuch
        return Translated(deliveries, found, repaired)

    def write(self, translated: Translated[_Values]) -> Repairs:
        """See `Writer.write`. One transaction, in which metrics that are passed on are stored, too."""
        forwarded = forwarded_of(translated.deliveries)
        if forwarded and not self._forwards:
            raise PermanentExportError(NOT_SET, unforwarded_of(translated.deliveries))
        if self._why_not and translated.rows:
            raise PermanentExportError(*_none_of(translated, f"Metrics cannot be written: {self._why_not}"))
        with transaction(self._database) as (connection, cursor):
            if forwarded:
                add_waiting(cursor, forwarded)
            if not translated.rows:
                return translated.repairs
            runs = Runs(cursor, translated.deliveries, translated.rows)
            rejected = runs.rejected or self._over_limit(cursor, runs.values)
            if rejected:
                raise PermanentExportError(rejected[0].reason, rejected)
            sums = add(cursor, {run: held.deltas for run, held in runs.values.items() if held.deltas})
            new, late = earliest(cursor, {run: held.stepped for run, held in runs.values.items() if held.stepped})
            _write_rows(cursor, runs.values, sums, new, late)
            self._watch.check(connection)
        return translated.repairs

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._watch.look_again()

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`. The bytes go to Postgres, but into no table."""
        began = time.monotonic()
        with transaction(self._database) as (_, cursor):
            cursor.execute("SELECT length(%s)", [delivery.request.SerializeToString()])
            cursor.execute("SELECT pg_sleep(%s)", [max(0.0, seconds - (time.monotonic() - began))])

    def _over_limit(self, cursor: Rows, values: Mapping[str, Values]) -> list[RejectedRecord]:
        """The data points that would give a run more names than it may have. Names that it has already may go on."""
        cursor.execute(_KNOWN, [sorted(values)])
        known: dict[str, set[str]] = {run: set() for run in values}
        for run, key in cursor.fetchall():
            known[run].add(key)
        rejected: dict[Origin, RejectedRecord] = {}
        for run, held in values.items():
            new = [name for name in held.names if name not in known[run]]
            said = (
                f"Run {run} has {self._max_names} different metrics, the most that HEADRACE_MAX_METRICS_PER_RUN allows: send "
                "fewer attributes, or raise it."
            )
            for name in new[max(0, self._max_names - len(known[run])) :]:
                for origin in held.names[name]:
                    rejected[origin] = RejectedRecord(origin.number, said, origin.delivery)
        return list(rejected.values())


def _none_of(translated: Translated[_Values], said: str) -> tuple[str, list[RejectedRecord]]:
    points = (origin for held in translated.rows.values() for origin in held.points)
    return said, [RejectedRecord(origin.number, said, origin.delivery) for origin in points]


def _write_rows(
    cursor: Rows, values: Mapping[str, Values], sums: Sums, stepped: Sequence[Placed], late: Sequence[Placed]
) -> None:
    rows = [*stepped, *((run, row) for run, held in values.items() for row in held.rows)]
    rows += [(run, row) for (run, _), found in sums.rows.items() for row in found]
    replaced = [*late, *((run, row) for (run, _), found in sums.replaced.items() for row in found)]
    if replaced:
        cursor.execute(_DELETE, _columns(replaced))
    if rows:
        cursor.execute(_INSERT, _columns(sorted(set(rows))))
        cursor.execute(_LATEST, _columns(_latest(rows)))
    if replaced:
        metrics = sorted({(run, row.key) for run, row in replaced})
        cursor.execute(_LATEST_AGAIN, [[run for run, _ in metrics], [key for _, key in metrics]])


def _latest(rows: Iterable[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """The latest row of each metric, as MLflow's `_update_latest_metrics_if_necessary` finds it."""
    latest: dict[tuple[str, str], Row] = {}
    for run, row in rows:
        known = latest.get((run, row.key))
        if known is None or (row.step, row.timestamp, row.value) > (known.step, known.timestamp, known.value):
            latest[run, row.key] = row
    return [(run, row) for (run, _), row in latest.items()]


def _columns(rows: Sequence[tuple[str, Row]]) -> list[list[object]]:
    """Rows → the columns of `unnest`."""
    return [
        [row.key for _, row in rows],
        [row.value for _, row in rows],
        [row.timestamp for _, row in rows],
        [row.step for _, row in rows],
        [row.is_nan for _, row in rows],
        [run for run, _ in rows],
    ]


def open_metrics_writer(database: Database, config: Config) -> MetricsWriter:
    """The writer of metrics, as the settings say.

    Raises:
        DatabaseUnavailable: Postgres does not answer now.
    """
    why_not = misfit(database)
    if why_not:
        log.warning("MLflow's tables of runs do not fit: metrics become dead letters", reason=why_not)
    naming = Naming(config.metric_name)
    forwards = bool(config.metrics_forward)
    return MetricsWriter(database, naming, config.metric_steps, config.max_metrics_per_run, why_not, forwards)
