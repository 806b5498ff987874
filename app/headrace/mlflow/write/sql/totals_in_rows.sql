-- The statements of writer.sql that are others where totals stand in rows: MLflow 3.14 to 3.16. In the manner of writer.sql.

-- name: lock_traces
-- Name, session, tokens and costs are read once the locks are held: see read_marks.
SELECT request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview, NULL, NULL, NULL, NULL
FROM trace_info
WHERE request_id = ANY (%(ids)b)
ORDER BY request_id
FOR UPDATE

-- name: create_traces
INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview,
                        db_payload_generation)
SELECT * FROM unnest(%(request_id)s::text[], %(experiment_id)s::int[], %(timestamp_ms)s::bigint[],
                     %(execution_time_ms)s::bigint[], %(status)s::text[], %(request_preview)b::text[],
                     %(response_preview)b::text[], %(generation)s::int[])
ON CONFLICT (request_id) DO NOTHING

-- name: update_traces
UPDATE trace_info t
SET experiment_id = u.experiment_id, timestamp_ms = u.timestamp_ms, execution_time_ms = u.execution_time_ms, status = u.status,
    request_preview = u.request_preview, response_preview = u.response_preview,
    db_payload_generation = t.db_payload_generation + u.generation
FROM unnest(%(request_id)s::text[], %(experiment_id)s::int[], %(timestamp_ms)s::bigint[],
            %(execution_time_ms)s::bigint[], %(status)s::text[], %(request_preview)b::text[], %(response_preview)b::text[],
            %(generation)s::int[])
     AS u (request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, response_preview, generation)
WHERE t.request_id = u.request_id

-- name: copy_spans
COPY spans (trace_id, span_id, parent_span_id, name, type, status, start_time_unix_nano, end_time_unix_nano, content,
            dimension_attributes, experiment_id)
FROM STDIN (FORMAT BINARY)

-- name: upsert_spans
INSERT INTO spans (trace_id, experiment_id, span_id, parent_span_id, name, type, status, start_time_unix_nano,
                   end_time_unix_nano, content, dimension_attributes)
SELECT trace_id, experiment_id, span_id, parent_span_id, name, type, status, starts, ends, content, dimensions::json
FROM unnest(%(trace_id)s::text[], %(experiment_id)s::int[], %(span_id)s::text[], %(parent_span_id)s::text[],
            %(name)s::text[], %(type)s::text[], %(status)s::text[], %(start_time_unix_nano)s::bigint[],
            %(end_time_unix_nano)s::bigint[], %(content)b::text[], %(dimension_attributes)s::text[])
     AS u (trace_id, experiment_id, span_id, parent_span_id, name, type, status, starts, ends, content, dimensions)
ON CONFLICT (trace_id, span_id) DO UPDATE
SET experiment_id = excluded.experiment_id, parent_span_id = excluded.parent_span_id, name = excluded.name,
    type = excluded.type, status = excluded.status, start_time_unix_nano = excluded.start_time_unix_nano,
    end_time_unix_nano = excluded.end_time_unix_nano, content = excluded.content,
    dimension_attributes = excluded.dimension_attributes

-- name: set_trace_metrics
INSERT INTO trace_metrics (request_id, key, value)
SELECT * FROM unnest(%(request_id)s::text[], %(key)s::text[], %(value)s::float8[])
ON CONFLICT (request_id, key) DO UPDATE SET value = excluded.value

-- name: set_span_metrics
INSERT INTO span_metrics (trace_id, span_id, key, value)
SELECT * FROM unnest(%(trace_id)s::text[], %(span_id)s::text[], %(key)s::text[], %(value)s::float8[])
ON CONFLICT (trace_id, span_id, key) DO UPDATE SET value = excluded.value

-- name: finish_traces
UPDATE trace_info t
SET status = u.status, request_preview = u.request, response_preview = u.response
FROM unnest(%(id)b::text[], %(status)b::text[], %(name)b::text[], %(request)b::text[], %(response)b::text[])
     AS u (id, status, name, request, response)
WHERE t.request_id = u.id

-- name: name_traces
INSERT INTO trace_tags AS t (request_id, key, value)
SELECT id, 'mlflow.traceName', name FROM unnest(%(id)b::text[], %(name)b::text[]) AS u (id, name) WHERE name IS NOT NULL
ON CONFLICT (key, request_id) DO UPDATE SET value = excluded.value
