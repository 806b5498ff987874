"""Opens the writers of the signals, as the settings say."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headrace.config import Config
from headrace.mlflow.logs.record import Bound
from headrace.mlflow.metrics.writer import open_metrics_writer
from headrace.mlflow.schema import open_writer
from headrace.mlflow.tables import Tables
from headrace.mlflow.translate.dialects import known as known_dialects
from headrace.mlflow.write import Writer
from headrace.otlp.signals import LOGS, METRICS, TRACES, Signal
from headrace.store.database import Database

Opener = Callable[[Database], Writer[Any]]
"""Opens a writer. It may fail while Postgres is away."""


def openers_of(config: Config, tables: Tables) -> Mapping[Signal, Opener]:
    """What opens the writer of each signal that is stored. They are called in this order. Each notes in `tables` what the
    database's schema is."""
    spans = _Remembering(writer_opener(config, tables))
    return {TRACES: spans, LOGS: spans.open_for_logs, METRICS: partial(open_metrics_writer, config=config)}


def writer_opener(config: Config, tables: Tables) -> Opener:
    """`open_writer`, with all that the settings say."""
    return partial(
        open_writer,
        enrich=config.enrich,
        note_unfinished=config.finishes,
        max_tags=config.max_tags_per_trace,
        tables=tables,
        index=config.index,
        dialects=known_dialects(config.dialects) if config.enrich else None,
        bound=Bound(config.max_logs_per_span, config.max_log_bytes_per_span),
    )


class _Remembering:
    """Opens the writer of spans, and then that of log records, which writes through it."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._spans: Writer[Any] | None = None

    def __call__(self, database: Database) -> Writer[Any]:
        self._spans = self._opener(database)
        return self._spans

    def open_for_logs(self, database: Database) -> Writer[Any]:
        """Opens the writer of log records."""
        from headrace.mlflow.write.logs import log_writer  # imports MLflow

        return log_writer(database, self._spans or self(database))
