"""What Postgres holds of the traces of a batch: rows → `Trace`, for the fold. With it the statements of sql/writer.sql."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
from psycopg import Cursor
from psycopg.sql import SQL
from sqlalchemy import Connection

from headrace.mlflow.fold.fold import needs_stored_nodes
from headrace.mlflow.model import Claim, Root, Trace, TracePart
from headrace.mlflow.text import to_object
from headrace.mlflow.translate.readback import to_span
from headrace.mlflow.translate.spans import to_node, to_root
from headrace.mlflow.translate.tags import resource_tags, root_tags, session_and_user
from headrace.store.database import Database

Rows = Cursor[tuple[Any, ...]]


def load_statements(file: str) -> dict[str, SQL]:
    """`-- name: x` and what follows it, from a file in sql/."""
    statements = {}
    for block in files("headrace.mlflow.write").joinpath(f"sql/{file}").read_text().split("-- name: ")[1:]:
        name, _, text = block.partition("\n")
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        statements[name.strip()] = SQL("\n".join(lines).strip())
    return statements


STATEMENTS = load_statements("writer.sql")


@contextmanager
def transaction(database: Database) -> Iterator[tuple[Connection, Rows]]:
    """One transaction: SQLAlchemy's connection, and a cursor of psycopg on it. Raises as `Database.begin`."""
    with database.begin() as connection:
        driver = connection.connection.driver_connection
        with driver.cursor() as cursor:  # type: ignore[union-attr]
            yield connection, cursor


def read_traces(cursor: Rows, parts: Sequence[TracePart], enrich: bool) -> dict[str, Trace]:
    """The traces of these parts that exist, locked until the end of the transaction, with what the fold needs of them."""
    traces = _lock_traces(cursor, sorted({part.trace_id for part in parts}))
    known = [(traces[part.trace_id], part) for part in parts if part.trace_id in traces]
    if enrich:
        spans = Counter[str]()
        for _, part in known:
            spans[part.trace_id] += len(part.spans)
        _read_roots(cursor, traces, spans)
    _read_nodes(cursor, {part.trace_id for trace, part in known if needs_stored_nodes(trace, part, enrich)}, traces)
    return traces


def _lock_traces(cursor: Rows, trace_ids: list[str]) -> dict[str, Trace]:
    cursor.execute(STATEMENTS["lock_traces"], {"ids": trace_ids})
    traces = {}
    for id_, experiment, timestamp, duration, status, request, response, name, session, tokens, costs in cursor:
        traces[id_] = Trace(id_, experiment, timestamp, duration, status, request, response, name, session, tokens, costs)
        traces[id_].stored_experiment_id = experiment
    if traces:
        cursor.execute(STATEMENTS["read_marks"], {"ids": sorted(traces)})
        for kind, id_, key, value in cursor:
            _mark(traces[id_], kind, key, value)
    return traces


def _mark(trace: Trace, kind: str, key: str, value: str) -> None:
    """One row of `read_marks`."""
    if kind == "tag":
        trace.stored_tags[key] = value
    elif kind == "claim":
        rank, start = value.split()
        trace.stored_claim = Claim(int(rank), int(start), key)
    elif kind == "unfinished":
        trace.noted_unfinished = True
    elif key == "mlflow.trace.infoFinalized":
        trace.finalized = True
    else:
        trace.user_id = trace.user_stored = value


def _read_roots(cursor: Rows, traces: dict[str, Trace], spans: Counter[str]) -> None:
    """The root spans that are there already and may decide, and by which claims the traces stand where they do.

    `spans`: how many of each trace come now. Each may be a root that comes again, as something else, so that the next
    decides: one more than these are enough. What all later roots say of their trace stands in its rows already.
    """
    if not traces:
        return
    ids = sorted(traces)
    cursor.execute(STATEMENTS["read_roots"], {"ids": ids, "most": [spans[id_] + 1 for id_ in ids]})
    found = [(trace_id, span_id, start, to_object(content) or {}) for trace_id, span_id, start, content in cursor]
    tags = _read_tags(cursor, {_origin(content) for *_, content in found})
    for trace_id, span_id, start, content in found:
        roots, of_resource = traces[trace_id].roots, tags.get(_origin(content), {})
        make = _root_that_may_decide if roots else _root_that_decided
        roots[span_id] = make(span_id, start, content, of_resource)
    for trace in traces.values():
        trace.decided_by = trace.root
        claims = [trace.stored_claim] if trace.stored_claim else []
        if trace.roots or trace.finalized or not claims:
            claims.append(trace.claim_told)
        trace.claim = min(claims)


def _root_that_decided(span_id: str, start: int, content: dict[str, Any], tags: dict[str, str]) -> Root:
    """The first of a trace. Its previews and its status stand in the trace's row, so nobody asks for them again: without
    them it is made in a tenth of the time."""
    attributes = content.get("attributes") or {}
    own, trace_name = root_tags(attributes, Counter())
    session, user = session_and_user(attributes, Counter())
    implicit = "implicit" in (content.get("otlp") or {})
    return Root(start, span_id, "", None, None, "", "", "", trace_name, session or None, user or None, tags | own, implicit)


def _root_that_may_decide(span_id: str, start: int, content: dict[str, Any], tags: dict[str, str]) -> Root:
    """Another one. If the first comes again as something else, this decides, with all that it says."""
    attributes, note = content.get("attributes") or {}, content.get("otlp") or {}
    span = to_span(content) if note else Span(span_id=bytes.fromhex(span_id), start_time_unix_nano=start)
    return to_root(span, attributes, tags, "implicit" in note)


def read_others(cursor: Rows, traces: dict[str, Trace]) -> None:
    """What all spans say that are there already, of traces in which that counts again.

    The root that decides is among them: what it says comes first anyway.
    """
    if not traces:
        return
    origins = set()
    for trace_id, is_root, text in cursor.stream(STATEMENTS["read_others"], {"ids": sorted(traces)}):
        content = to_object(text) or {}
        attributes = content.get("attributes") or {}
        own = root_tags(attributes, Counter())[0] if is_root else {}
        traces[trace_id].others.add(own, *session_and_user(attributes, Counter()))
        origins.add((trace_id, _origin(content)))
    tags = _read_tags(cursor, {digest for _, digest in origins})
    for trace_id, digest in origins:
        traces[trace_id].others.add(tags.get(digest, {}), None, None)


def _origin(content: dict[str, Any]) -> str:
    """The digest of what a stored span came with; empty where enrichment was off."""
    return str((content.get("otlp") or {}).get("origin", ""))


def _read_tags(cursor: Rows, digests: Collection[str]) -> dict[str, dict[str, str]]:
    """The tags that the resources of these origins give."""
    cursor.execute(STATEMENTS["read_origins"], {"digests": sorted(digests)})
    return {digest: resource_tags(ResourceSpans.FromString(data).resource, Counter()) or {} for digest, data in cursor}


def _read_nodes(cursor: Rows, trace_ids: Collection[str], traces: dict[str, Trace]) -> None:
    """The figures of all spans that are there already."""
    if not trace_ids:
        return
    for trace_id, span_id, parent_id, content in cursor.stream(STATEMENTS["read_nodes"], {"ids": sorted(trace_ids)}):
        attributes = (to_object(content) or {}).get("attributes") or {} if content else {}
        traces[trace_id].nodes[span_id] = to_node(span_id, parent_id, attributes)
