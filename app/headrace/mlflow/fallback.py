"""Writes through MLflow's own `SqlAlchemyStore.log_spans`, as its `/v1/traces` does: slow, and right wherever MLflow is.

Source: mlflow/server/otel_api.py, `export_traces` (3.17). One request is one `log_spans` call for each experiment.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.entities.span import Span
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracing.utils import dump_span_attribute_value
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from sqlalchemy import Connection, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.orm import Session

import headrace.mlflow.runtime  # noqa: F401 - for what it does to the process
from headrace.envelope import Delivery
from headrace.envelope.limit import Limit
from headrace.errors import DatabaseUnavailable, ExportError, PermanentExportError
from headrace.mlflow.installed import version
from headrace.mlflow.keys import TAG_PREFIX, to_otlp_trace_id
from headrace.mlflow.reserved import FINISHED, RESERVED_TAGS
from headrace.mlflow.shape import SHAPES, Schema
from headrace.mlflow.shape.catalogue import read_tables
from headrace.mlflow.shape.differences import differences
from headrace.mlflow.shape.needs import Column, Shape, TableShape
from headrace.mlflow.shape.watch import Watch
from headrace.mlflow.text import Repairs
from headrace.mlflow.translate.tags import MAX_TAGS, known_service
from headrace.mlflow.translate.times import storable_end
from headrace.mlflow.write import Translated
from headrace.mlflow.write.authority import refusals
from headrace.rejected import RejectedSpans
from headrace.store.database import Database
from headrace.telemetry.logging import log
from headrace.telemetry.metrics import RUN_LINKS_FAILED

_LINKS_PER_CALL = 100  # MLflow's MAX_TRACE_LINKS_PER_REQUEST; its endpoint links none where there are more
_RESERVED = tuple(f"{TAG_PREFIX}{key}" for key in RESERVED_TAGS)


class _CheckedStore(SqlAlchemyStore):
    """MLflow's store, whose transactions are asked at their end, before they are committed, whether they may be."""

    def __init__(self, url: str) -> None:
        self.check: Callable[[Session], None] | None = None
        """Raises for what may not be committed."""
        super().__init__(url, "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
        self._sessions = self.ManagedSessionMaker
        self.ManagedSessionMaker = self._checked_session

    @contextmanager
    def _checked_session(self, *arguments: Any, **named: Any) -> Iterator[Session]:
        with self._sessions(*arguments, **named) as session:
            yield session
            if self.check is not None:
                self.check(session)


class MlflowStoreWriter:
    """A `Writer` for tables that only the installed MLflow knows."""

    def __init__(self, database: Database, max_tags: int = MAX_TAGS, schema: Schema | None = None) -> None:
        """`schema`: as of the `BulkWriter`."""
        self._max_tags = max_tags
        self._watch = Watch(database, schema)
        self._database = database
        self._store = _CheckedStore(database.url)

    def translate(self, deliveries: Sequence[Delivery], most: int | None = None) -> Translated[None]:  # noqa: ARG002
        """See `Writer.translate`: MLflow's store translates as it writes, one request at a time."""
        return Translated(deliveries, None, Counter())

    def write(self, translated: Translated[None]) -> Repairs:
        """See `Writer.write`. Each request is its own transaction; a second write of it changes nothing."""
        repaired = Counter(translated.repairs)
        for number, delivery in enumerate(translated.deliveries):
            for experiment_id in sorted({destination.experiment_id for destination in delivery.destinations}):
                most = min(self._max_tags, delivery.max_tags or self._max_tags)
                spans = _mlflow_spans(delivery, experiment_id, most, repaired)
                if not spans:
                    continue
                self._log(delivery, number, experiment_id, spans)
                if delivery.run_id:
                    self._link([span.trace_id for span in spans if span.parent_id is None], delivery.run_id)
        self._database.note(None)
        return repaired

    def look_again(self) -> None:
        """See `Writer.look_again`."""
        self._watch.look_again()

    def rehearse(self, delivery: Delivery, seconds: float) -> None:
        """See `Writer.rehearse`. MLflow's store takes nothing back: the bytes go to Postgres, but into no table."""
        query = text("SELECT length(:request), pg_sleep(:seconds)")
        with self._database.begin() as connection:
            connection.execute(query, {"request": delivery.request.SerializeToString(), "seconds": seconds})

    def _log(self, delivery: Delivery, number: int, experiment_id: str, spans: list[Any]) -> None:
        """Writes the spans. All is taken back if a trace or the run turns out not to be their sender's, or if MLflow's tables
        were upgraded meanwhile."""
        traces = {span.trace_id for span in spans}

        def check(session: Session) -> None:
            if delivery.limit is not None:
                _check(traces, delivery.run_id, experiment_id, delivery.limit, number, session)
            self._watch.check(session.connection())

        self._store.check = check
        try:
            self._store.log_spans(experiment_id, spans)
        except Exception as error:
            raise _raised_in(error) or self._database.judge(error) from error
        finally:
            self._store.check = None

    def _link(self, trace_ids: list[str], run_id: str) -> None:
        """Links finished traces to the run. One that cannot be linked is logged and counted, as in MLflow not an error."""
        unique = sorted(set(trace_ids))
        for first in range(0, len(unique), _LINKS_PER_CALL):
            batch = unique[first : first + _LINKS_PER_CALL]
            try:
                self._store.link_traces_to_run(batch, run_id)
            except Exception as error:
                judged = self._database.judge(error)
                if isinstance(judged, DatabaseUnavailable):
                    raise judged from error
                RUN_LINKS_FAILED.inc(len(batch))
                log.warning("traces not linked to run", run_id=run_id, traces=len(batch), error=str(judged))


def _check(trace_ids: Collection[str], run_id: str, experiment_id: str, limit: Limit, number: int, session: Session) -> None:
    """Raises PermanentExportError for the traces that a delivery of this limit, the `number`th of its batch, may not change."""
    refused = refusals(session, trace_ids, run_id, int(experiment_id), limit)
    if refused:
        rejected = [RejectedSpans(to_otlp_trace_id(id_), experiment_id, why, number) for id_, why in sorted(refused.items())]
        raise PermanentExportError(rejected[0].reason, rejected)


def _raised_in(error: BaseException) -> ExportError | None:
    """What a check has raised, which MLflow wraps in an error of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ExportError):
        cause = cause.__cause__
    return cause


def differences_for_store(connection: Connection) -> list[str]:
    """Why MLflow's own store, as it is installed, cannot write these tables. Empty: it can.

    By its own models: their columns, keys and foreign keys. It converts what it writes, so types are its own matter.
    """
    tables = {table.name: table for table in Base.metadata.tables.values()}
    names = sorted({table.name for shape in SHAPES for table in shape.tables if not table.only_if} & tables.keys())
    shape = Shape("MLflow's own store", version(), tuple(_needs(tables[name]) for name in names))
    return differences(shape, read_tables(connection, names), {})


def _needs(table: Table) -> TableShape:
    return TableShape(
        table.name,
        {
            column.name: Column((), writes_null=bool(column.nullable), written=column.computed is None)
            for column in table.columns
        },
        keys=tuple(
            tuple(column.name for column in constraint.columns)
            for constraint in table.constraints
            if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint)
        ),
        references={
            tuple(column.name for column in constraint.columns): constraint.referred_table.name
            for constraint in table.foreign_key_constraints
        },
    )


def _mlflow_spans(delivery: Delivery, experiment_id: str, max_tags: int, repaired: Repairs) -> list[Any]:
    """The request's spans for one experiment, in order; of a span that came twice the last stands, in the first's place.

    (MLflow's own bulk upsert fails on the same key twice, and its aggregation never returns where such a pair makes a
    parent cycle.)
    """
    spans: dict[tuple[bytes, bytes], Any] = {}
    for resource_spans, destination in zip(delivery.request.resource_spans, delivery.destinations, strict=True):
        if destination.experiment_id == experiment_id:
            service = known_service(resource_spans)
            resource = _taggable(resource_spans.resource, max_tags, repaired)
            for scope in resource_spans.scope_spans:
                for proto in scope.spans:
                    span: Any = Span.from_otel_proto(storable_end(proto, repaired), resource=resource)
                    if span.parent_id is None:
                        _finish_root(span._span._attributes, service, repaired)
                    spans[proto.trace_id, proto.span_id] = span
    return list(spans.values())


def _taggable(resource: Resource, most: int, repaired: Repairs) -> Resource:
    """MLflow makes a tag of each attribute: only so many of them, and none that is reserved. (MLflow passes over its own.)"""
    reserved = sum(pair.key == FINISHED for pair in resource.attributes)
    if not reserved and len(resource.attributes) <= most:
        return resource
    if reserved:
        repaired["reserved_tag_dropped"] += 1
    return Resource(attributes=[pair for pair in resource.attributes if pair.key != FINISHED][:most])


def _finish_root(attributes: dict[str, Any], service: str | None, repaired: Repairs) -> None:
    """Gives a root the name of a known service, as MLflow's endpoint, and takes the reserved tags off it.

    (The bulk writer keeps those attributes and drops the tags alone; MLflow's store makes the tags of the attributes.)
    """
    if service:
        attributes["service.name"] = dump_span_attribute_value(service)
    for key in _RESERVED:
        if attributes.pop(key, None) is not None:
            repaired["reserved_tag_dropped"] += 1
