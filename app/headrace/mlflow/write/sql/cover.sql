-- Every statement of cover.py and backfill.py, in the manner of writer.sql.

-- name: small
-- Those of these traces with few stored spans. Of none are more read than that.
SELECT u.trace_id FROM unnest(%(trace_id)b::text[]) AS u (trace_id) CROSS JOIN LATERAL (
    SELECT count(*) AS spans, coalesce(sum(octet_length(l.content)), 0) AS bytes
    FROM (SELECT content FROM spans s WHERE s.trace_id = u.trace_id LIMIT %(spans)s::int + 1) l
) n
WHERE n.spans <= %(spans)s AND n.bytes <= %(bytes)s

-- name: read_spans
SELECT trace_id, span_id, parent_span_id, coalesce(name, ''), status = 'ERROR', start_time_unix_nano,
       coalesce(end_time_unix_nano, start_time_unix_nano), content
FROM spans WHERE trace_id = ANY (%(trace_id)b::text[]) ORDER BY trace_id, start_time_unix_nano, span_id

-- name: read_origins
-- With the origin where the index does not have its service.
SELECT o.digest, s.service, CASE WHEN s.service IS NULL THEN o.origin END
FROM headrace.origin o LEFT JOIN headrace.origin_service s USING (digest)
WHERE o.digest = ANY (%(digest)s::text[])

-- name: read_tags
SELECT request_id, value FROM trace_tags WHERE key = %(key)s AND request_id = ANY (%(trace_id)b::text[])

-- name: tables_are_there
SELECT to_regclass('headrace.trace_service') IS NOT NULL, to_regclass('spans') IS NOT NULL AND to_regclass('trace_info') IS NOT NULL

-- name: experiments
-- A name counts in MLflow's workspace `default` alone.
SELECT experiment_id FROM experiments
WHERE %(experiment)s::text IS NULL OR experiment_id::text = %(experiment)s OR (name = %(experiment)s AND workspace = 'default')
ORDER BY experiment_id DESC

-- name: count_traces
SELECT count(*) FROM trace_info WHERE experiment_id = ANY (%(experiments)b::int[]) AND timestamp_ms >= %(since)s

-- name: read_page
-- The next traces of an experiment, the newest first; and of those that are not covered how many spans they have, up to a number.
SELECT t.request_id, t.timestamp_ms, CASE WHEN c.covered THEN NULL ELSE (
    SELECT count(*) FROM (SELECT 1 FROM spans s WHERE s.trace_id = t.request_id LIMIT %(spans)s::int) l
) END
FROM (
    SELECT request_id, timestamp_ms FROM trace_info
    WHERE experiment_id = %(experiment)s AND timestamp_ms >= %(since)s AND timestamp_ms <= %(before)s
      AND (timestamp_ms, request_id) < (%(before)s, %(id)s)
    ORDER BY timestamp_ms DESC, request_id DESC LIMIT %(limit)s
) t
CROSS JOIN LATERAL (SELECT EXISTS (SELECT 1 FROM headrace.trace_service c WHERE c.trace_id = t.request_id) AS covered) c

-- name: lock_free
-- Of these traces those that nobody writes just now. The lock keeps writers of spans out, and nobody else.
SELECT request_id, experiment_id FROM trace_info WHERE request_id = ANY (%(trace_id)b::text[])
ORDER BY request_id FOR NO KEY UPDATE SKIP LOCKED

-- name: lock
SELECT request_id, experiment_id FROM trace_info WHERE request_id = ANY (%(trace_id)b::text[])
ORDER BY request_id FOR NO KEY UPDATE

-- name: read_covered
-- After the lock: what was committed before it is seen.
SELECT DISTINCT trace_id FROM headrace.trace_service WHERE trace_id = ANY (%(trace_id)b::text[])
