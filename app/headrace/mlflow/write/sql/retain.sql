-- Every statement of retain.py, in the manner of writer.sql.

-- name: read_experiments
SELECT experiment_id, name, workspace FROM experiments ORDER BY experiment_id

-- name: read_newest_that_goes
-- The first trace after the newest so many.
SELECT timestamp_ms, request_id FROM trace_info WHERE experiment_id = %(experiment)s
ORDER BY timestamp_ms DESC, request_id DESC OFFSET %(keep)s LIMIT 1

-- name: look
-- A page of traces, the oldest first, each with what spares it.
SELECT timestamp_ms, request_id,
       EXISTS (SELECT 1 FROM trace_tags g WHERE g.key = 'headrace.keep' AND g.request_id = t.request_id) AS tagged,
       EXISTS (SELECT 1 FROM assessments a WHERE a.trace_id = t.request_id) AS assessed,
       EXISTS (SELECT 1 FROM entity_associations e
               WHERE e.source_type = 'trace' AND e.source_id = t.request_id) AS linked,
       EXISTS (SELECT 1 FROM trace_tags g WHERE g.key = 'mlflow.trace.spansLocation' AND g.request_id = t.request_id
                 AND g.value = 'ARCHIVE_REPO') AS archived
FROM trace_info t
WHERE experiment_id = %(experiment)s
  AND (timestamp_ms, request_id) > (%(after_ms)s, %(after_id)s)
  AND (timestamp_ms, request_id) <= (%(last_ms)s, %(last_id)s)
ORDER BY timestamp_ms, request_id LIMIT %(limit)s

-- name: read_days
-- What MLflow's daily sums have of these traces.
SELECT 'trace', experiment_id, timestamp_ms FROM trace_info WHERE request_id = ANY (%(ids)s)
UNION SELECT 'span', experiment_id, start_time_unix_nano / 1000000 FROM spans WHERE trace_id = ANY (%(ids)s)
UNION SELECT 'assessment', experiment_id, trace_timestamp_ms FROM assessments WHERE trace_id = ANY (%(ids)s)

-- name: lock
-- Waits for nobody: a trace that is locked is being written just now. It goes another time.
SELECT request_id FROM trace_info WHERE request_id = ANY (%(ids)s) ORDER BY request_id FOR UPDATE SKIP LOCKED

-- name: delete
-- Its spans, tags, metadata, metrics and assessments go with it: they refer to it with ON DELETE CASCADE.
DELETE FROM trace_info WHERE request_id = ANY (%(ids)s)

-- name: delete_links
DELETE FROM entity_associations WHERE source_type = 'trace' AND source_id = ANY (%(ids)s)

-- name: has_reviews
SELECT to_regclass('review_queue_items') IS NOT NULL

-- name: delete_reviews
-- As MLflow's own: an item without its trace could not be reviewed.
DELETE FROM review_queue_items WHERE item_type = 'trace' AND item_id = ANY (%(ids)s)

-- name: delete_ours
WITH remembered AS (DELETE FROM headrace.remembered_trace WHERE trace_id = ANY (%(ids)s)),
     movable AS (DELETE FROM headrace.movable_trace WHERE trace_id = ANY (%(ids)s)),
     unfinished AS (DELETE FROM headrace.unfinished_trace WHERE trace_id = ANY (%(ids)s)),
     waiting AS (DELETE FROM headrace.waiting_call WHERE trace_id = ANY (%(ids)s))
DELETE FROM headrace.trace_service WHERE trace_id = ANY (%(ids)s)
