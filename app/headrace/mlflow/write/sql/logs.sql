-- Every statement of joining.py and waiting.py, in the manner of writer.sql.

-- name: look
-- For which of these traces something waits, and which of them have spans with log records. Where no log record ever came, this
-- asks neither index.
SELECT t.trace_id, true FROM unnest(%(ids)b::text[]) AS t (trace_id)
CROSS JOIN LATERAL (SELECT 1 FROM headrace.waiting_log w WHERE w.trace_id = t.trace_id LIMIT 1) AS w
WHERE EXISTS (SELECT 1 FROM headrace.waiting_log)
UNION ALL
SELECT trace_id, false FROM headrace.logged_trace
WHERE EXISTS (SELECT 1 FROM headrace.logged_trace) AND trace_id = ANY (%(ids)b)

-- name: read_waiting
SELECT w.trace_id, w.span_id, w.record, w.position, w.experiment_id, w.sender_limit
FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS u (trace_id, span_id)
JOIN headrace.waiting_log w ON w.trace_id = u.trace_id AND w.span_id = u.span_id

-- name: read_spans
SELECT s.trace_id, s.span_id, s.content
FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS u (trace_id, span_id)
JOIN spans s ON s.trace_id = u.trace_id AND s.span_id = u.span_id

-- name: take_waiting
DELETE FROM headrace.waiting_log WHERE (trace_id, span_id, digest) IN (
    SELECT w.trace_id, w.span_id, w.digest
    FROM unnest(%(trace_id)b::text[], %(span_id)b::text[], %(digest)b::text[], %(position)b::int[])
        AS u (trace_id, span_id, digest, position)
    JOIN headrace.waiting_log w ON w.trace_id = u.trace_id AND w.span_id = u.span_id AND w.digest = u.digest
        AND w.position = u.position
    ORDER BY 1, 2, 3 FOR UPDATE OF w)

-- name: mark_logged
INSERT INTO headrace.logged_trace (trace_id) SELECT unnest(%(ids)b::text[]) ON CONFLICT (trace_id) DO NOTHING

-- name: read_standing
SELECT request_id, experiment_id FROM trace_info WHERE request_id = ANY (%(ids)b)

-- name: add_waiting
-- One that is there at a greater position is new again: whoever is joining it now has read the greater one.
INSERT INTO headrace.waiting_log AS w (trace_id, span_id, digest, position, record, experiment_id, sender_limit)
SELECT * FROM unnest(%(trace_id)b::text[], %(span_id)b::text[], %(digest)b::text[], %(position)b::int[], %(record)b::bytea[],
                     %(experiment_id)b::int[], %(sender_limit)b::bytea[])
ON CONFLICT (trace_id, span_id, digest) DO UPDATE
    SET position = EXCLUDED.position, look_at = NULL WHERE EXCLUDED.position < w.position

-- name: note_new
-- A transaction that looked for waiting records before these were committed has an id below this one.
UPDATE headrace.waiting_log SET look_at = txid_snapshot_xmax(txid_current_snapshot())
WHERE (trace_id, span_id, digest) IN (
    SELECT trace_id, span_id, digest FROM headrace.waiting_log WHERE look_at IS NULL
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: read_horizon
SELECT txid_snapshot_xmin(txid_current_snapshot())

-- name: find_noted
-- All those transactions are over: a span that is not there now will look for its records itself when it comes.
SELECT DISTINCT trace_id, span_id FROM (
    SELECT trace_id, span_id FROM headrace.waiting_log WHERE look_at <= %(horizon)s LIMIT %(limit)s
) noted

-- name: settle
UPDATE headrace.waiting_log SET look_at = 9223372036854775807
WHERE (trace_id, span_id, digest) IN (
    SELECT w.trace_id, w.span_id, w.digest
    FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS u (trace_id, span_id)
    JOIN headrace.waiting_log w ON w.trace_id = u.trace_id AND w.span_id = u.span_id
    WHERE w.look_at <= %(horizon)s
    FOR UPDATE OF w SKIP LOCKED)

-- name: expire
DELETE FROM headrace.waiting_log WHERE (trace_id, span_id, digest) IN (
    SELECT trace_id, span_id, digest FROM headrace.waiting_log
    WHERE noted_at < now() - make_interval(secs => %(seconds)s)
    ORDER BY noted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: expire_over
-- The oldest, as long as all together are more than `bytes`.
WITH aged AS (
    SELECT trace_id, span_id, digest,
           sum(octet_length(record)) OVER (ORDER BY noted_at DESC, trace_id, span_id, digest) AS with_younger
    FROM headrace.waiting_log
)
DELETE FROM headrace.waiting_log WHERE (trace_id, span_id, digest) IN (
    SELECT w.trace_id, w.span_id, w.digest
    FROM aged a JOIN headrace.waiting_log w ON w.trace_id = a.trace_id AND w.span_id = a.span_id AND w.digest = a.digest
    WHERE a.with_younger > %(bytes)s
    LIMIT %(limit)s FOR UPDATE OF w SKIP LOCKED)

-- name: size
SELECT count(*), coalesce(sum(octet_length(record)), 0) FROM headrace.waiting_log

-- name: forget
DELETE FROM headrace.waiting_log WHERE (trace_id, span_id, digest) IN (
    SELECT w.trace_id, w.span_id, w.digest
    FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS u (trace_id, span_id)
    JOIN headrace.waiting_log w ON w.trace_id = u.trace_id AND w.span_id = u.span_id
    ORDER BY 1, 2, 3 FOR UPDATE OF w)
