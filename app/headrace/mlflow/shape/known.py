"""The shapes that the bulk writer writes. A release of MLflow that changes none of this needs no line here.

Source: mlflow/store/tracking/dbmodels/models.py and mlflow/store/db_migrations/versions/ of MLflow 3.14 to 3.18.
"""

from headrace.mlflow.shape.needs import (
    BIG,
    FLOAT,
    INTEGER,
    JSON,
    TEXT,
    Column,
    Shape,
    TableShape,
    all_or_null,
    number,
    or_null,
    read_only,
    text,
)

_ID, _KEY, _VALUE = text(50), text(250), text(8000)

_EXPERIMENTS = TableShape(
    "experiments",
    {
        "name": text(256),
        "artifact_location": text(256),
        "lifecycle_stage": text(32),
        "creation_time": number(),
        "last_update_time": number(),
        "workspace": text(63),
        **read_only(experiment_id=INTEGER),
    },
    keys=(("experiment_id",), ("workspace", "name")),
)
_RUNS = TableShape("runs", read_only(run_uuid=TEXT, experiment_id=INTEGER), inserts=False)
_TAGS = TableShape(
    "trace_tags",
    {"request_id": _ID, "key": _KEY, "value": or_null(_VALUE)},
    keys=(("key", "request_id"),),
    references={("request_id",): "trace_info"},
)
_METADATA = TableShape(
    "trace_request_metadata",
    {"request_id": _ID, "key": _KEY, "value": _VALUE},
    keys=(("key", "request_id"),),
    references={("request_id",): "trace_info"},
)
_LINKS = TableShape(
    "entity_associations",
    {
        **dict.fromkeys(("association_id", "source_type", "source_id", "destination_type", "destination_id"), text(36)),
        "created_time": number(),
    },
    keys=(("source_type", "source_id", "destination_type", "destination_id"),),
)
_COMMON = (_EXPERIMENTS, _RUNS, _TAGS, _METADATA, _LINKS)

_TRACE: dict[str, Column] = {
    "request_id": _ID,
    "experiment_id": number(INTEGER),
    "timestamp_ms": number(),
    "execution_time_ms": or_null(number()),
    "status": _ID,
    **dict(all_or_null(text(1000), "request_preview", "response_preview")),
    "db_payload_generation": number(INTEGER),
}
_SPAN: dict[str, Column] = {
    "trace_id": _ID,
    "experiment_id": number(INTEGER),
    "span_id": _ID,
    "parent_span_id": or_null(_ID),
    "name": text(),
    "type": or_null(text(500)),
    "status": _ID,
    "start_time_unix_nano": number(),
    "end_time_unix_nano": number(),
    "content": text(),
}


def _trace_info(columns: dict[str, Column]) -> TableShape:
    return TableShape("trace_info", _TRACE | columns, keys=(("request_id",),), references={("experiment_id",): "experiments"})


def _spans(columns: dict[str, Column], absent: tuple[str, ...] = ()) -> TableShape:
    references: dict[tuple[str, ...], str] = {("trace_id",): "trace_info", ("experiment_id",): "experiments"}
    return TableShape("spans", _SPAN | columns, keys=(("trace_id", "span_id"),), references=references, absent=absent)


_TOKENS = (
    *("input_tokens", "output_tokens", "total_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation_input_tokens_above_1hr"),
)
_COSTS = ("input_cost", "output_cost", "total_cost")

TOTALS_IN_COLUMNS = Shape(
    "totals in columns",
    "3.17, 3.18",
    (
        *_COMMON,
        _trace_info(
            {
                "trace_name": or_null(text(4096)),
                "session_id": or_null(_KEY),
                **dict(all_or_null(number(BIG), *_TOKENS)),
                **dict(all_or_null(number(FLOAT), *_COSTS)),
            }
        ),
        _spans(
            {
                **dict(all_or_null(number(FLOAT), *_COSTS)),
                **dict(all_or_null(text(500), "model_name", "model_provider")),
            },
            # 3.17's columns may be there before its migration: MLflow has a tool that fills them ahead of it.
            absent=("dimension_attributes",),
        ),
        TableShape(
            "assessments",
            {"trace_timestamp_ms": number(), "experiment_id": number(INTEGER), **read_only(trace_id=TEXT)},
            inserts=False,
        ),
        TableShape(
            "sql_trace_rollup_rebuild_queue",
            {"experiment_id": number(INTEGER), "rollup_day": Column(("date",)), "rollup_family": text(50)},
            keys=(("experiment_id", "rollup_day", "rollup_family"),),
            only_if="MLFLOW_SQL_TRACE_ROLLUPS_ENABLED",
        ),
    ),
)

TOTALS_IN_ROWS = Shape(
    "totals in rows",
    "3.14 to 3.16",
    (
        *_COMMON,
        _trace_info({}),
        _spans({"dimension_attributes": or_null(Column(JSON))}),
        TableShape(
            "trace_metrics",
            {"request_id": _ID, "key": _KEY, "value": number(FLOAT)},
            keys=(("request_id", "key"),),
            references={("request_id",): "trace_info"},
        ),
        TableShape(
            "span_metrics",
            {"trace_id": _ID, "span_id": _ID, "key": _KEY, "value": number(FLOAT)},
            keys=(("trace_id", "span_id", "key"),),
            references={("trace_id", "span_id"): "spans"},
        ),
    ),
    # 3.17 keeps the tables of metrics, and no longer reads them.
    absent=("sql_trace_rollup_rebuild_queue",),
)

SHAPES = (TOTALS_IN_COLUMNS, TOTALS_IN_ROWS)
"""The newest first."""
