-- Every statement of prune.py, in the manner of writer.sql.

-- name: lock
-- One process at a time, until the end of the transaction.
SELECT pg_try_advisory_xact_lock(%(key)s)

-- name: find_suspects
-- Origins that nobody used for so long, and whose known trace is gone.
SELECT o.digest FROM headrace.origin o
WHERE o.used_on < current_date - %(days)s::int
  AND NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.request_id = o.trace_id)
LIMIT %(limit)s

-- name: read_page
-- The last span of the next page of spans, and the origins that spans of this page name, each with one of their traces.
-- A text that an attribute holds may look like such a name. That keeps an origin too many, never one too few.
WITH page AS MATERIALIZED (
    SELECT trace_id, span_id, content FROM spans
    WHERE (trace_id, span_id) > (%(trace_id)s, %(span_id)s)
    ORDER BY trace_id, span_id LIMIT %(limit)s
)
(SELECT NULL AS digest, trace_id, span_id FROM page ORDER BY trace_id DESC, span_id DESC LIMIT 1)
UNION ALL
SELECT named[1], min(trace_id), NULL
FROM page CROSS JOIN LATERAL regexp_matches(content, '"origin":\s*"([0-9a-f]{32})"', 'g') AS m (named)
GROUP BY 1

-- name: note_traces
-- Waits for nobody: one that is locked is being used just now.
UPDATE headrace.origin o SET trace_id = u.trace_id
FROM unnest(%(digest)b::text[], %(trace_id)b::text[]) AS u (digest, trace_id)
WHERE o.digest = u.digest
  AND o.digest IN (SELECT digest FROM headrace.origin WHERE digest = ANY (%(digest)b) FOR UPDATE SKIP LOCKED)

-- name: forget_traces
-- Waits for nobody: one that is locked is being used just now.
DELETE FROM headrace.remembered_trace
WHERE trace_id IN (SELECT trace_id FROM headrace.remembered_trace WHERE used_on < current_date - %(days)s::int
                   LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: delete
-- The same. `used_on` is read anew under the lock: a writer may have used the origin since.
DELETE FROM headrace.origin
WHERE digest IN (SELECT digest FROM headrace.origin
                 WHERE digest = ANY (%(digest)b) AND used_on < current_date - %(days)s::int FOR UPDATE SKIP LOCKED)

-- name: prune_edges
-- A clock of a client may be anywhere: hours that have not come yet go, too.
DELETE FROM headrace.edge WHERE (hour, experiment_id, caller, callee, slot) IN (
    SELECT hour, experiment_id, caller, callee, slot FROM headrace.edge
    WHERE hour NOT BETWEEN extract(epoch FROM now()) / 3600 - %(days)s * 24 AND extract(epoch FROM now()) / 3600 + 24
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_edge_days
-- A day goes with its last hour.
DELETE FROM headrace.edge_day WHERE (day, experiment_id, caller, callee, slot) IN (
    SELECT day, experiment_id, caller, callee, slot FROM headrace.edge_day
    WHERE day * 24 + 23 < extract(epoch FROM now()) / 3600 - %(days)s * 24 OR day * 24 > extract(epoch FROM now()) / 3600 + 24
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_operations
DELETE FROM headrace.operation WHERE (experiment_id, service, name, kind) IN (
    SELECT experiment_id, service, name, kind FROM headrace.operation
    WHERE seen_on < current_date - %(days)s::int LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_waiting
-- A parent that has not come in so long: it was never sent.
DELETE FROM headrace.waiting_call WHERE (trace_id, parent_span_id, span_id) IN (
    SELECT trace_id, parent_span_id, span_id FROM headrace.waiting_call
    WHERE noted_on < current_date - %(waiting_days)s::int LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: prune_trace_services
-- Of traces that are gone: a page by key, from where the last one ended.
WITH page AS MATERIALIZED (
    SELECT trace_id, service FROM headrace.trace_service WHERE (trace_id, service) > (%(trace_id)s, %(service)s)
    ORDER BY trace_id, service LIMIT %(limit)s
), gone AS (
    DELETE FROM headrace.trace_service s USING page p
    WHERE s.trace_id = p.trace_id AND s.service = p.service
      AND NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.request_id = p.trace_id)
    RETURNING 1
)
SELECT trace_id, service, (SELECT count(*) FROM gone) FROM page ORDER BY trace_id DESC, service DESC LIMIT 1

-- name: prune_logged_traces
-- The same of what log records have left.
WITH page AS MATERIALIZED (
    SELECT trace_id FROM headrace.logged_trace WHERE trace_id > %(trace_id)s ORDER BY trace_id LIMIT %(limit)s
), gone AS (
    DELETE FROM headrace.logged_trace s USING page p
    WHERE s.trace_id = p.trace_id AND NOT EXISTS (SELECT 1 FROM trace_info t WHERE t.request_id = p.trace_id)
    RETURNING 1
)
SELECT trace_id, (SELECT count(*) FROM gone) FROM page ORDER BY trace_id DESC LIMIT 1

-- name: prune_origin_services
DELETE FROM headrace.origin_service WHERE digest IN (
    SELECT digest FROM headrace.origin_service s
    WHERE NOT EXISTS (SELECT 1 FROM headrace.origin o WHERE o.digest = s.digest) LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
