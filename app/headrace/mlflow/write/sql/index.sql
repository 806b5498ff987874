-- Every statement of index.py, in the manner of writer.sql. Rows go in ordered by key. Arrays come as texts: their elements are many
-- and short, and psycopg would handle each.

-- name: read_stored
-- Which spans of the batch are there already; those of no length with their content, which tells whether they came without an end.
-- And, without a span, which traces are covered: of some all spans of the batch may have been superseded.
SELECT s.trace_id, s.span_id, CASE WHEN s.end_time_unix_nano <= s.start_time_unix_nano THEN s.content END
FROM spans s JOIN unnest(%(trace_id)s::text[], %(span_id)s::text[]) AS u (trace_id, span_id) USING (trace_id, span_id)
UNION ALL
SELECT t.trace_id, NULL, NULL FROM unnest(%(traces)s::text[]) AS t (trace_id)
WHERE EXISTS (SELECT 1 FROM headrace.trace_service c WHERE c.trace_id = t.trace_id)

-- name: read_parents
-- The services of stored parents. The note stands at the end of the content: what an event says in the same words comes before.
SELECT s.trace_id, s.span_id, coalesce(o.service, '')
FROM spans s JOIN unnest(%(trace_id)s::text[], %(span_id)s::text[]) AS u (trace_id, span_id) USING (trace_id, span_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN ltrim(left(m.tail, 33), '0123456789abcdef') = '"' THEN left(m.tail, 32) END AS digest
    FROM (SELECT split_part(s.content, '"otlp": {"origin": "', -1) AS tail OFFSET 0) m OFFSET 0
) n
LEFT JOIN headrace.origin_service o ON o.digest = n.digest

-- name: take_waiting
-- The calls that waited for a span of this batch, which is their caller.
DELETE FROM headrace.waiting_call w
USING unnest(%(trace_id)s::text[], %(span_id)s::text[]) AS u (trace_id, span_id)
WHERE w.trace_id = u.trace_id AND w.parent_span_id = u.span_id
RETURNING w.trace_id, w.parent_span_id, w.service, w.start_ns, w.duration_ns, w.error

-- name: add_waiting
INSERT INTO headrace.waiting_call (trace_id, parent_span_id, span_id, service, start_ns, duration_ns, error)
SELECT * FROM unnest(%(trace_id)s::text[], %(parent_span_id)s::text[], %(span_id)s::text[], %(service)s::text[],
                     %(start_ns)s::bigint[], %(duration_ns)s::bigint[], %(error)s::bool[])
ON CONFLICT DO NOTHING

-- name: add_origin_services
INSERT INTO headrace.origin_service (digest, service)
SELECT * FROM unnest(%(digest)s::text[], %(service)s::text[])
ON CONFLICT DO NOTHING

-- name: add_operations
INSERT INTO headrace.operation AS o (experiment_id, service, name, kind, seen_on)
SELECT u.*, current_date
FROM unnest(%(experiment_id)s::int[], %(service)s::text[], %(name)s::text[], %(kind)s::smallint[]) AS u
ON CONFLICT (experiment_id, service, name, kind) DO UPDATE SET seen_on = excluded.seen_on WHERE o.seen_on < excluded.seen_on

-- name: add_calls
-- The services of traces, then the edges, which writers share, by hour and by day. `service` counts in `services`.
WITH called AS (
    SELECT u.hour, u.experiment_id, u.caller, u.callee, pg_backend_pid() %% 16 AS slot, u.calls, u.errors, u.duration_ns
    FROM unnest(%(hour)s::int[], %(experiment_id)s::int[], %(caller)b::text[], %(callee)b::text[], %(calls)s::bigint[],
                %(errors)s::bigint[], %(duration_ns)s::numeric[])
         AS u (hour, experiment_id, caller, callee, calls, errors, duration_ns)
), edges AS (
    INSERT INTO headrace.edge AS e (hour, experiment_id, caller, callee, slot, calls, errors, duration_ns)
    SELECT * FROM called
    ON CONFLICT (hour, experiment_id, caller, callee, slot) DO UPDATE
    SET calls = e.calls + excluded.calls, errors = e.errors + excluded.errors, duration_ns = e.duration_ns + excluded.duration_ns
), days AS (
    INSERT INTO headrace.edge_day AS e (day, experiment_id, caller, callee, slot, calls, errors, duration_ns)
    SELECT floor(hour / 24.0)::int, experiment_id, caller, callee, slot, sum(calls), sum(errors), sum(duration_ns)
    FROM called GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (day, experiment_id, caller, callee, slot) DO UPDATE
    SET calls = e.calls + excluded.calls, errors = e.errors + excluded.errors, duration_ns = e.duration_ns + excluded.duration_ns
)
INSERT INTO headrace.trace_service AS t (trace_id, service, start_ns)
SELECT u.trace_id, (%(services)b::text[])[u.service], u.start_ns
FROM unnest(%(trace_id)s::text[], %(service)s::int[], %(start_ns)s::bigint[]) AS u (trace_id, service, start_ns)
ON CONFLICT (trace_id, service) DO UPDATE SET start_ns = excluded.start_ns WHERE excluded.start_ns < t.start_ns
