"""Every statement of the Postgres reader. Parameters are psycopg's, %(name)s. None of them takes a lock."""

STANDING = "SELECT experiment_id FROM trace_info WHERE request_id = %(id)s"

SPANS = """
SELECT content, span_id, parent_span_id, name, status, start_time_unix_nano, end_time_unix_nano, total
FROM (
    SELECT *, sum(octet_length(content)) OVER (ORDER BY start_time_unix_nano, span_id) AS size, count(*) OVER () AS total
    FROM spans WHERE trace_id = %(id)s AND content <> ''
) s
WHERE size <= %(bytes)s
ORDER BY start_time_unix_nano, span_id
LIMIT %(rows)s
"""
"""`total`: how many spans the trace has. The length of a content is known without reading it."""

ORIGINS = """
SELECT digest, origin FROM (
    SELECT digest, origin, sum(octet_length(origin)) OVER (ORDER BY digest) AS size
    FROM headrace.origin WHERE digest = ANY (%(digests)s)
) o
WHERE size <= %(bytes)s
"""

TAGGED_SERVICE = "SELECT value FROM trace_tags WHERE request_id = %(id)s AND key = %(key)s AND value <> ''"

OF_SERVICE = """
SELECT t.request_id, t.experiment_id, t.trace_name, t.timestamp_ms, t.execution_time_ms, t.status, c.start_ns
FROM (
    SELECT trace_id, start_ns FROM headrace.trace_service
    WHERE service = %(service)s AND start_ns >= %(since)s AND start_ns < %(until)s
    ORDER BY start_ns DESC, trace_id LIMIT %(walked)s
) c JOIN trace_info t ON t.request_id = c.trace_id
WHERE %(experiments)s::int[] IS NULL OR t.experiment_id = ANY (%(experiments)s::int[])
ORDER BY c.start_ns DESC, c.trace_id
LIMIT %(most)s
"""
"""`walked`: so many traces of the service are looked at. Where few of them are of the experiments, `OF_BOTH` finds them."""

OF_BOTH = """
SELECT t.*, c.start_ns
FROM (
    SELECT t.* FROM unnest(%(experiments)s::int[]) AS e (experiment_id) CROSS JOIN LATERAL (
        SELECT request_id, experiment_id, trace_name, timestamp_ms, execution_time_ms, status FROM trace_info
        WHERE experiment_id = e.experiment_id AND timestamp_ms < (%(until)s::bigint + 999999) / 1000000
        ORDER BY timestamp_ms DESC LIMIT %(walked)s
    ) t
    ORDER BY t.timestamp_ms DESC LIMIT %(walked)s
) t JOIN headrace.trace_service c ON c.trace_id = t.request_id AND c.service = %(service)s
WHERE c.start_ns >= %(since)s AND c.start_ns < %(until)s
ORDER BY c.start_ns DESC, c.trace_id
LIMIT %(most)s
"""
"""The same from the other side: the newest traces of the experiments, those that have the service. Its first span in a trace
never begins before the trace does."""

MORE_OF_SERVICE = """
SELECT count(*) > %(walked)s FROM (
    SELECT 1 FROM headrace.trace_service
    WHERE service = %(service)s AND start_ns >= %(since)s AND start_ns < %(until)s LIMIT %(walked)s + 1
) s
"""
"""Whether the service has more traces than are looked at."""

MORE_OF_EXPERIMENTS = """
SELECT count(*) > %(walked)s FROM (
    SELECT 1 FROM trace_info
    WHERE experiment_id = ANY (%(experiments)s::int[]) AND timestamp_ms < (%(until)s::bigint + 999999) / 1000000
    LIMIT %(walked)s + 1
) t
"""

OF_EXPERIMENTS = """
SELECT t.*, 0 FROM experiments e CROSS JOIN LATERAL (
    SELECT request_id, experiment_id, trace_name, timestamp_ms, execution_time_ms, status FROM trace_info
    WHERE experiment_id = e.experiment_id
      AND timestamp_ms >= %(since)s::bigint / 1000000 AND timestamp_ms < (%(until)s::bigint + 999999) / 1000000
    ORDER BY timestamp_ms DESC, request_id
    LIMIT %(most)s
) t
WHERE %(experiments)s::int[] IS NULL OR e.experiment_id = ANY (%(experiments)s::int[])
ORDER BY t.timestamp_ms DESC, t.request_id
LIMIT %(most)s
"""
"""MLflow's index on traces begins with the experiment: each is asked for its newest."""

_MATCHING = """
SELECT c.id, m.*
FROM unnest(%(ids)s::text[]) AS c (id) CROSS JOIN LATERAL (
    SELECT {read}
    FROM spans s {note}
    WHERE s.trace_id = c.id AND s.content <> ''
      AND (%(operation)s::text = '' OR s.name = %(operation)s::text)
      AND coalesce(s.end_time_unix_nano, s.start_time_unix_nano) - s.start_time_unix_nano >= %(min)s::bigint
      AND (%(max)s::bigint = 0 OR s.end_time_unix_nano - s.start_time_unix_nano <= %(max)s::bigint)
      AND (%(error)s::bool IS NULL OR (s.status = 'ERROR') = %(error)s::bool)
      {more}
    {one}
) m
"""
"""`OFFSET 0` keeps the order of the traces: a search that may read no more bytes has then read the newest."""
_NOTE = """CROSS JOIN LATERAL (
        SELECT CASE WHEN ltrim(left(m.tail, 33), '0123456789abcdef') = '"' THEN left(m.tail, 32) END AS digest, m.tail
        FROM (SELECT split_part(s.content, '"otlp": {"origin": "', -1) AS tail OFFSET 0) m OFFSET 0
    ) n"""
"""The origin that a span's note names; the note is the last of its content. A search asks this of thousands of spans, and a
regular expression takes twenty times as long."""
_OF_THE_SERVICE = """AND CASE WHEN n.digest IS NULL
          THEN coalesce((SELECT left(nullif(g.value, ''), 500) FROM trace_tags g
                         WHERE g.request_id = c.id AND g.key = %(service_key)s), %(no_service)s) = %(service)s
          ELSE n.digest IN (SELECT digest FROM headrace.origin_service WHERE service = %(service)s) END
      """
"""Where a span's content names no service, the trace's tag does: see `mlflow/write/cover.py`."""
_HAS_TEXTS = """AND (
          CASE WHEN n.digest IS NULL OR %(value{0})s = '' THEN strpos(s.content, %(key{0})s) > 0
               ELSE strpos(s.content, %(value{0})s) > 0
                    AND (strpos(s.content, %(text{0})s) > 0 OR strpos(s.content, %(bare{0})s) > 0) END
          OR strpos(n.tail, ', "span": "') > 0
          OR EXISTS (SELECT 1 FROM headrace.origin o WHERE o.digest = n.digest
                     AND position(%(shared_key{0})s::bytea IN o.origin) > 0
                     AND position(%(shared{0})s::bytea IN o.origin) > 0))
      """
"""What cannot have an attribute, as it stands neither in the content nor in the origin, is not read. Of a note that has the
span itself, coded, that cannot be told."""


def matching(by_service: bool, attributes: int | None) -> str:
    """Of these traces (`ids`) those that have such a span.

    `attributes`: of how many the statement tells which spans cannot have them. Then each span that may have them is given, with
    its content and its origin. None: no attribute is asked for.
    """
    read = attributes is not None
    texts = "".join(_HAS_TEXTS.format(number) for number in range(attributes or 0))
    return _MATCHING.format(
        read="s.content, (SELECT o.origin FROM headrace.origin o WHERE o.digest = n.digest) AS origin"
        if read
        else "NULL AS content, NULL AS origin",
        note=_NOTE if by_service or read else "",
        more=(_OF_THE_SERVICE if by_service else "") + texts,
        one="OFFSET 0" if read else "LIMIT 1",
    )


SERVICES = """
SELECT DISTINCT service FROM headrace.operation
WHERE %(experiments)s::int[] IS NULL OR experiment_id = ANY (%(experiments)s)
ORDER BY service LIMIT %(rows)s
"""

OPERATIONS = """
SELECT DISTINCT name, kind FROM headrace.operation
WHERE service = %(service)s AND (%(experiments)s::int[] IS NULL OR experiment_id = ANY (%(experiments)s::int[]))
ORDER BY name, kind LIMIT %(rows)s
"""

EDGES = """
SELECT caller, callee, sum(calls)::bigint, sum(errors)::bigint, sum(duration_ns)::text FROM (
    SELECT experiment_id, caller, callee, calls, errors, duration_ns FROM headrace.edge
    WHERE hour >= %(since)s AND hour < %(before)s
    UNION ALL
    SELECT experiment_id, caller, callee, calls, errors, duration_ns FROM headrace.edge_day
    WHERE day >= %(first_day)s AND day < %(end_day)s
    UNION ALL
    SELECT experiment_id, caller, callee, calls, errors, duration_ns FROM headrace.edge
    WHERE hour >= %(after)s AND hour <= %(until)s
) e
WHERE %(experiments)s::int[] IS NULL OR experiment_id = ANY (%(experiments)s::int[])
GROUP BY caller, callee ORDER BY caller, callee LIMIT %(rows)s
"""
"""Whole days, and the hours before and after them: a week has 24 times as many hours as days."""

EXPERIMENTS = """
SELECT experiment_id, name FROM experiments
WHERE workspace = 'default' AND lifecycle_stage = 'active' ORDER BY experiment_id LIMIT %(rows)s
"""

ACTIVITY = """
SELECT e.experiment_id, e.name, coalesce(t.timestamp_ms, 0) FROM (
    SELECT experiment_id, name FROM experiments
    WHERE workspace = 'default' AND lifecycle_stage = 'active'
      AND (%(experiments)s::int[] IS NULL OR experiment_id = ANY (%(experiments)s::int[]))
    ORDER BY experiment_id DESC LIMIT 1000
) e
LEFT JOIN LATERAL (
    SELECT timestamp_ms FROM trace_info WHERE experiment_id = e.experiment_id ORDER BY timestamp_ms DESC LIMIT 1
) t ON true
ORDER BY t.timestamp_ms DESC NULLS LAST, e.experiment_id LIMIT 100
"""
"""One look into MLflow's index for each experiment."""

RUN_TRACES = """
SELECT r.run_id, t.request_id, t.timestamp_ms, t.execution_time_ms, t.status,
       to_jsonb(t) ->> 'total_tokens', to_jsonb(t) ->> 'total_cost', tokens.value, cost.value, t.number
FROM (
    SELECT *, row_number() OVER (ORDER BY timestamp_ms DESC, request_id) AS number FROM (
        SELECT * FROM trace_info WHERE experiment_id = %(experiment)s
        ORDER BY timestamp_ms DESC, request_id LIMIT %(most)s
    ) newest
) t
LEFT JOIN LATERAL (
    SELECT destination_id AS run_id FROM entity_associations
    WHERE source_type = 'trace' AND source_id = t.request_id AND destination_type = 'run'
    UNION SELECT value FROM trace_request_metadata WHERE request_id = t.request_id AND key = 'mlflow.sourceRun'
) r ON true
LEFT JOIN trace_request_metadata tokens ON tokens.request_id = t.request_id AND tokens.key = 'mlflow.trace.tokenUsage'
LEFT JOIN trace_request_metadata cost ON cost.request_id = t.request_id AND cost.key = 'mlflow.trace.cost'
ORDER BY t.number, r.run_id LIMIT %(rows)s
"""
"""The totals are columns of `trace_info` as of MLflow 3.17, metadata before; the columns need not be there. `number` counts the
traces, also those without a run."""

RUNS = """
SELECT run_uuid, name, start_time FROM runs
WHERE run_uuid = ANY (%(ids)s::text[]) AND experiment_id = %(experiment)s AND lifecycle_stage = 'active'
ORDER BY start_time, run_uuid
"""

RUN_METRICS = """
SELECT run_uuid, key, value FROM latest_metrics WHERE run_uuid = ANY (%(ids)s::text[]) AND NOT is_nan
ORDER BY run_uuid, key LIMIT %(rows)s
"""

TABLES_ARE_THERE = "SELECT to_regclass('headrace.edge_day') IS NOT NULL"
"""Those of the index came last."""
