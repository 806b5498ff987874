-- Every statement of the bulk writer. A line `-- name: x` begins the statement x; parameters are psycopg's, %(name)s.
-- Lists of long texts are sent in binary, %(name)b: as text psycopg escapes each quote in Python, 250 us for a span's content instead
-- of 1. Where there is a column for many rows, and its values are short, it comes as the text of an array, %(name)s, made by `array`:
-- psycopg would handle each value.
-- Rows come in and go out ordered by key, so that writers that meet on the same rows lock them in the same order.

-- name: plan_by_index
-- For this transaction. A plan that Postgres makes once and keeps, as it does for statements that are prepared, does not know how
-- long a list will be, nor how a table will grow: it reads small tables whole, and compares each row with each item of the list.
-- The transaction's id is there before it looks for log records: see `note_new` in logs.sql.
SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SELECT txid_current();
SELECT EXISTS (SELECT 1 FROM headrace.waiting_log) OR EXISTS (SELECT 1 FROM headrace.logged_trace)

-- name: lock_traces
-- The traces of the batch that exist, locked until the end of the transaction.
SELECT request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview, trace_name,
       session_id,
       ARRAY[input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
             cache_creation_input_tokens_above_1hr],
       ARRAY[input_cost, output_cost, total_cost]
FROM trace_info
WHERE request_id = ANY (%(ids)b)
ORDER BY request_id
FOR UPDATE

-- name: read_marks
-- What else the fold has to know of them: finished by MLflow's own client, its user, its tags, by which precedence it stands where.
SELECT 'metadata', request_id, key, value FROM trace_request_metadata
WHERE request_id = ANY (%(ids)b) AND key = ANY (%(metadata)b)
UNION ALL
SELECT 'tag', request_id, key, value FROM trace_tags WHERE request_id = ANY (%(ids)b)
UNION ALL
SELECT 'precedence', trace_id, span_id, rank || ' ' || start FROM headrace.movable_trace WHERE trace_id = ANY (%(ids)b)
UNION ALL
SELECT 'unfinished', trace_id, '', CASE WHEN written_at > now() - interval '1 second' THEN 'now' END
FROM headrace.unfinished_trace WHERE trace_id = ANY (%(ids)b)
UNION ALL
-- Only where the transaction that wrote this row wrote the trace's row last: nobody else has written spans since.
SELECT 'root', m.trace_id, m.root_id, m.said
FROM headrace.remembered_trace m JOIN trace_info t ON t.request_id = m.trace_id AND t.xmin = m.xmin
WHERE m.trace_id = ANY (%(ids)b)
UNION ALL
-- Where nothing is remembered: whether some of its spans may speak for their root.
SELECT 'speaker', t.request_id, '', ''
FROM trace_info t
WHERE t.request_id = ANY (%(ids)b)
  AND NOT EXISTS (SELECT 1 FROM headrace.remembered_trace m WHERE m.trace_id = t.request_id AND m.xmin = t.xmin)
  AND EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.request_id AND s.type = ANY (%(speakers)b))

-- name: read_roots
-- Of each trace the earliest roots, as many as `most` says for it: no other can decide.
SELECT r.trace_id, r.span_id, r.start_time_unix_nano, r.content
FROM unnest(%(ids)b::text[], %(most)b::int[]) AS w (id, most)
CROSS JOIN LATERAL (
    SELECT trace_id, span_id, start_time_unix_nano, content FROM spans
    WHERE trace_id = w.id AND parent_span_id IS NULL AND content <> ''
    ORDER BY start_time_unix_nano, span_id
    LIMIT w.most
) r

-- name: read_others
SELECT trace_id, parent_span_id IS NULL, content FROM spans
WHERE trace_id = ANY (%(ids)b) AND content <> ''

-- name: read_origins
SELECT digest, origin FROM headrace.origin WHERE digest = ANY (%(digests)b)

-- name: read_ends
-- Spans that are there already; only those of no length need their content, which tells whether they came without an end.
SELECT trace_id, span_id, CASE WHEN end_time_unix_nano <= start_time_unix_nano THEN content END
FROM spans
WHERE trace_id = ANY (%(ids)b) AND span_id = ANY (%(span_ids)b)

-- name: read_failures
-- Of each trace the failed span that ended last, of those that say why: see `speaks` in origin.py.
SELECT w.id, coalesce(f.end_time_unix_nano, 0), coalesce(f.span_id, '')
FROM unnest(%(ids)b::text[]) AS w (id)
LEFT JOIN LATERAL (
    SELECT end_time_unix_nano, span_id FROM spans
    WHERE trace_id = w.id AND status = 'ERROR' AND parent_span_id IS NOT NULL
      AND content LIKE '%%"otlp": {"origin": "________________________________", "speaks": "e%%'
    ORDER BY end_time_unix_nano DESC, span_id
    LIMIT 1
) f ON true

-- name: read_words
SELECT s.trace_id, s.span_id, s.content
FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS w (trace_id, span_id)
JOIN spans s ON s.trace_id = w.trace_id AND s.span_id = w.span_id

-- name: read_nodes
-- The spans that are there already, for totals over the whole tree; only those with figures or a model need their content. `speaks` of
-- those that may speak for their root: see origin.py.
SELECT trace_id, span_id, parent_span_id,
       CASE WHEN content LIKE '%%"mlflow.chat.tokenUsage"%%' OR content LIKE '%%"mlflow.llm.cost"%%'
                 OR content LIKE '%%"mlflow.llm.model"%%' THEN content END,
       CASE WHEN type = ANY (%(speakers)b)
            THEN substring(content FROM '"otlp": {"origin": "[0-9a-f]{32}", "speaks": "([eio]+)"') END,
       start_time_unix_nano, end_time_unix_nano
FROM spans
WHERE trace_id = ANY (%(ids)b) AND content <> ''

-- name: read_chains
-- Of these spans those that are there, with all their ancestors, told as by read_nodes.
WITH RECURSIVE up (trace_id, span_id, parent_span_id) AS (
    SELECT s.trace_id, s.span_id, s.parent_span_id
    FROM unnest(%(trace_id)b::text[], %(span_id)b::text[]) AS w (trace_id, span_id)
    JOIN spans s ON s.trace_id = w.trace_id AND s.span_id = w.span_id
    UNION
    SELECT s.trace_id, s.span_id, s.parent_span_id
    FROM up JOIN spans s ON s.trace_id = up.trace_id AND s.span_id = up.parent_span_id
)
SELECT s.trace_id, s.span_id, s.parent_span_id,
       CASE WHEN s.content LIKE '%%"mlflow.chat.tokenUsage"%%' OR s.content LIKE '%%"mlflow.llm.cost"%%'
                 OR s.content LIKE '%%"mlflow.llm.model"%%' THEN s.content END,
       CASE WHEN s.type = ANY (%(speakers)b)
            THEN substring(s.content FROM '"otlp": {"origin": "[0-9a-f]{32}", "speaks": "([eio]+)"') END,
       s.start_time_unix_nano, s.end_time_unix_nano
FROM up JOIN spans s ON s.trace_id = up.trace_id AND s.span_id = up.span_id

-- name: read_borrowers
-- The spans of these traces that have tokens and state no model: see `borrows` in origin.py.
SELECT trace_id, span_id FROM spans WHERE trace_id = ANY (%(ids)b) AND content LIKE '%%, "borrows": "model"%%'

-- name: read_rollup_snapshots
SELECT t.request_id, t.experiment_id, t.timestamp_ms,
       EXISTS (SELECT 1 FROM trace_request_metadata m
               WHERE m.request_id = t.request_id AND m.key = 'mlflow.trace.infoFinalized')
FROM trace_info t
WHERE t.request_id = ANY (%(ids)b)

-- name: read_span_starts
SELECT trace_id, span_id, experiment_id, start_time_unix_nano, false FROM spans
WHERE trace_id = ANY (%(ids)b) AND (span_id = ANY (%(span_ids)b) OR trace_id = ANY (%(may_move)b))
UNION ALL
-- Those that may get a cost by what comes now.
SELECT s.trace_id, s.span_id, s.experiment_id, s.start_time_unix_nano, true
FROM trace_info t JOIN spans s ON s.trace_id = t.request_id
WHERE t.request_id = ANY (%(ids)b) AND t.total_tokens IS NOT NULL AND s.content LIKE '%%, "borrows": "model"%%'

-- name: read_artifact_roots
SELECT experiment_id, artifact_location FROM experiments WHERE experiment_id = ANY (%(ids)b)

-- name: read_names
-- A key names its experiments as they are called in the workspace `default`, never across.
SELECT experiment_id, name FROM experiments WHERE experiment_id = ANY (%(ids)b) AND workspace = 'default'

-- name: read_runs
SELECT run_uuid, experiment_id FROM runs WHERE run_uuid = ANY (%(ids)b)

-- name: create_traces
-- A trace that another writer created since lock_traces is not returned: the batch is begun anew then.
INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview,
                        trace_name, session_id, input_tokens, output_tokens, total_tokens, cache_read_input_tokens,
                        cache_creation_input_tokens, cache_creation_input_tokens_above_1hr, input_cost, output_cost, total_cost,
                        db_payload_generation)
SELECT * FROM unnest(%(request_id)s::text[], %(experiment_id)s::int[], %(timestamp_ms)s::bigint[],
                     %(execution_time_ms)s::bigint[], %(status)s::text[], %(request_preview)b::text[],
                     %(response_preview)b::text[], %(trace_name)s::text[], %(session_id)s::text[],
                     %(input_tokens)s::bigint[], %(output_tokens)s::bigint[], %(total_tokens)s::bigint[],
                     %(cache_read_input_tokens)s::bigint[], %(cache_creation_input_tokens)s::bigint[],
                     %(cache_creation_input_tokens_above_1hr)s::bigint[], %(input_cost)s::float8[], %(output_cost)s::float8[],
                     %(total_cost)s::float8[], %(generation)s::int[])
ON CONFLICT (request_id) DO NOTHING

-- name: update_traces
UPDATE trace_info t
SET experiment_id = u.experiment_id, timestamp_ms = u.timestamp_ms, execution_time_ms = u.execution_time_ms, status = u.status,
    request_preview = u.request_preview, response_preview = u.response_preview, trace_name = u.trace_name,
    session_id = u.session_id, input_tokens = u.input_tokens, output_tokens = u.output_tokens, total_tokens = u.total_tokens,
    cache_read_input_tokens = u.cache_read_input_tokens, cache_creation_input_tokens = u.cache_creation_input_tokens,
    cache_creation_input_tokens_above_1hr = u.cache_creation_input_tokens_above_1hr,
    input_cost = u.input_cost, output_cost = u.output_cost, total_cost = u.total_cost,
    db_payload_generation = t.db_payload_generation + u.generation
FROM unnest(%(request_id)s::text[], %(experiment_id)s::int[], %(timestamp_ms)s::bigint[],
            %(execution_time_ms)s::bigint[], %(status)s::text[], %(request_preview)b::text[], %(response_preview)b::text[], %(trace_name)s::text[], %(session_id)s::text[],
            %(input_tokens)s::bigint[], %(output_tokens)s::bigint[], %(total_tokens)s::bigint[],
            %(cache_read_input_tokens)s::bigint[], %(cache_creation_input_tokens)s::bigint[],
            %(cache_creation_input_tokens_above_1hr)s::bigint[], %(input_cost)s::float8[], %(output_cost)s::float8[],
            %(total_cost)s::float8[], %(generation)s::int[])
     AS u (request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview, trace_name, session_id,
           input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
           cache_creation_input_tokens_above_1hr, input_cost, output_cost, total_cost, generation)
WHERE t.request_id = u.request_id

-- name: move_assessments
UPDATE assessments a
SET trace_timestamp_ms = u.timestamp_ms
FROM unnest(%(request_id)s::text[], %(timestamp_ms)s::bigint[]) AS u (request_id, timestamp_ms)
WHERE a.trace_id = u.request_id

-- name: copy_spans
-- Spans of traces created in this very transaction: nobody else can have written them.
COPY spans (trace_id, span_id, parent_span_id, name, type, status, start_time_unix_nano, end_time_unix_nano,
            content, input_cost, output_cost, total_cost, model_name, model_provider, experiment_id)
FROM STDIN (FORMAT BINARY)

-- name: upsert_spans
INSERT INTO spans (trace_id, experiment_id, span_id, parent_span_id, name, type, status, start_time_unix_nano,
                   end_time_unix_nano, content, input_cost, output_cost, total_cost, model_name, model_provider)
SELECT * FROM unnest(%(trace_id)s::text[], %(experiment_id)s::int[], %(span_id)s::text[], %(parent_span_id)s::text[],
                     %(name)s::text[], %(type)s::text[], %(status)s::text[], %(start_time_unix_nano)s::bigint[],
                     %(end_time_unix_nano)s::bigint[], %(content)b::text[], %(input_cost)s::float8[],
                     %(output_cost)s::float8[], %(total_cost)s::float8[], %(model_name)s::text[], %(model_provider)s::text[])
ON CONFLICT (trace_id, span_id) DO UPDATE
SET experiment_id = excluded.experiment_id, parent_span_id = excluded.parent_span_id, name = excluded.name,
    type = excluded.type, status = excluded.status, start_time_unix_nano = excluded.start_time_unix_nano,
    end_time_unix_nano = excluded.end_time_unix_nano, content = excluded.content, input_cost = excluded.input_cost,
    output_cost = excluded.output_cost, total_cost = excluded.total_cost, model_name = excluded.model_name,
    model_provider = excluded.model_provider

-- name: copy_tags
COPY trace_tags (request_id, key, value) FROM STDIN (FORMAT BINARY)

-- name: upsert_tags
INSERT INTO trace_tags AS t (request_id, key, value)
SELECT * FROM unnest(%(request_id)s::text[], %(key)s::text[], %(value)s::text[])
ON CONFLICT (key, request_id) DO UPDATE SET value = excluded.value
WHERE t.value IS DISTINCT FROM excluded.value

-- name: set_metadata
INSERT INTO trace_request_metadata (request_id, key, value)
SELECT * FROM unnest(%(request_id)s::text[], %(key)s::text[], %(value)s::text[])
ON CONFLICT (key, request_id) DO UPDATE SET value = excluded.value

-- name: link_runs
INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id, created_time)
SELECT association_id, 'trace', trace_id, 'run', run_id, %(now_ms)s
FROM unnest(%(association_id)b::text[], %(trace_id)b::text[], %(run_id)b::text[]) AS u (association_id, trace_id, run_id)
ON CONFLICT (source_type, source_id, destination_type, destination_id) DO NOTHING

-- name: link_prompts
INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id, created_time)
SELECT association_id, 'trace', trace_id, 'prompt_version', prompt_id, %(now_ms)s
FROM unnest(%(association_id)b::text[], %(trace_id)b::text[], %(prompt_id)b::text[]) AS u (association_id, trace_id, prompt_id)
ON CONFLICT (source_type, source_id, destination_type, destination_id) DO NOTHING

-- name: add_origins
-- Once a day and process, each is said to be used: see prune.py.
INSERT INTO headrace.origin AS o (digest, origin, trace_id, used_on)
SELECT digest, origin, trace_id, current_date
FROM unnest(%(digest)b::text[], %(origin)b::bytea[], %(trace_id)b::text[]) AS u (digest, origin, trace_id)
ON CONFLICT (digest) DO UPDATE SET trace_id = excluded.trace_id, used_on = excluded.used_on
WHERE o.used_on < excluded.used_on

-- name: keep_precedences
INSERT INTO headrace.movable_trace (trace_id, rank, start, span_id)
SELECT * FROM unnest(%(trace_id)b::text[], %(rank)b::smallint[], %(start)b::bigint[], %(span_id)b::text[])
ON CONFLICT (trace_id) DO UPDATE SET rank = excluded.rank, start = excluded.start, span_id = excluded.span_id

-- name: remember_traces
INSERT INTO headrace.remembered_trace (trace_id, root_id, said)
SELECT * FROM unnest(%(trace_id)s::text[], %(root_id)s::text[], %(said)b::text[])
ON CONFLICT (trace_id) DO UPDATE SET root_id = excluded.root_id, said = excluded.said, used_on = excluded.used_on

-- name: remove_precedences
DELETE FROM headrace.movable_trace WHERE trace_id = ANY (%(ids)b)

-- name: note_unfinished
INSERT INTO headrace.unfinished_trace (trace_id, written_at) SELECT unnest(%(ids)b::text[]), now()
ON CONFLICT (trace_id) DO UPDATE SET written_at = excluded.written_at

-- name: forget_unfinished
DELETE FROM headrace.unfinished_trace WHERE trace_id = ANY (%(ids)b)

-- name: remove_tag
DELETE FROM trace_tags WHERE request_id = ANY (%(ids)b) AND key = %(key)s

-- name: forget_old_precedences
-- The last statement of its transaction, and it waits for nobody's lock: two writers that meet here cannot deadlock.
DELETE FROM headrace.movable_trace
WHERE trace_id IN (SELECT trace_id FROM headrace.movable_trace WHERE noted_at < now() - interval '7 days'
                   ORDER BY noted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)

-- name: move_spans
UPDATE spans s SET experiment_id = u.experiment_id
FROM unnest(%(request_id)b::text[], %(experiment_id)b::int[]) AS u (request_id, experiment_id)
WHERE s.trace_id = u.request_id

-- name: move_assessments_to
UPDATE assessments a SET experiment_id = u.experiment_id
FROM unnest(%(request_id)b::text[], %(experiment_id)b::int[]) AS u (request_id, experiment_id)
WHERE a.trace_id = u.request_id
