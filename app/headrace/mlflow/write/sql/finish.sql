-- Every statement of finish.py, in the manner of writer.sql.

-- name: find_quiet
SELECT u.trace_id, t.experiment_id, t.timestamp_ms
FROM headrace.unfinished_trace u LEFT JOIN trace_info t ON t.request_id = u.trace_id
WHERE u.written_at < now() - make_interval(secs => %(quiet)s)
ORDER BY u.written_at LIMIT %(limit)s

-- name: lock_traces
SELECT request_id FROM trace_info WHERE request_id = ANY (%(ids)b) ORDER BY request_id FOR UPDATE

-- name: read_unfinished
-- Read anew under the locks: which of them are still quiet, and nobody else's to finish.
SELECT t.request_id
FROM trace_info t JOIN headrace.unfinished_trace u ON u.trace_id = t.request_id
WHERE t.request_id = ANY (%(ids)b) AND u.written_at < now() - make_interval(secs => %(quiet)s)
  AND (t.status IN ('IN_PROGRESS', 'STATE_UNSPECIFIED')
       OR EXISTS (SELECT 1 FROM trace_tags g WHERE g.request_id = t.request_id AND g.key = %(tag)s))
  AND NOT EXISTS (SELECT 1 FROM trace_request_metadata m
                  WHERE m.request_id = t.request_id AND m.key = 'mlflow.trace.infoFinalized')

-- name: read_top_spans
-- Those whose parent is not there, the earliest first. Of a trace that is nothing but a cycle there is none.
SELECT s.trace_id, s.status, s.content FROM spans s
WHERE s.trace_id = ANY (%(ids)b) AND s.content <> ''
  AND NOT EXISTS (SELECT 1 FROM spans p WHERE p.trace_id = s.trace_id AND p.span_id = s.parent_span_id)
ORDER BY s.trace_id, s.start_time_unix_nano, s.span_id

-- name: finish_traces
UPDATE trace_info t
SET status = u.status, trace_name = u.name, request_preview = u.request, response_preview = u.response
FROM unnest(%(id)b::text[], %(status)b::text[], %(name)b::text[], %(request)b::text[], %(response)b::text[])
     AS u (id, status, name, request, response)
WHERE t.request_id = u.id

-- name: forget
DELETE FROM headrace.unfinished_trace
WHERE trace_id = ANY (%(ids)b) AND written_at < now() - make_interval(secs => %(quiet)s)
