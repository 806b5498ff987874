"""Headrace: the OTLP intake for MLflow. The way of a span through this package, top to bottom:

    wire bytes
      receiver/http.py         reads the body, bounded                                413
      otlp/codec.py            content type × encoding → ExportTraceServiceRequest    400, 415
      processor/validate.py    impossible spans out, counted by reason                partial_success
      processor/route.py       ResourceSpans → where they want to go
      processor/experiments.py … → the MLflow experiment                              400: says how to mend it
      queue/disk.py            offer(): returns once fsynced                          503 + Retry-After when full
      receiver/http.py         200, ExportTraceServiceResponse in the request's own encoding
    ---------------- what was acknowledged survives kill -9 and a database outage ----------------
      worker.py                claims a batch from the queue
      export.py                resolve → translate → write; permanent failure → bisect → the one span
      exporter/                OTLP → MLflow's rows, one transaction, idempotent
      worker.py                settles the batch; what can never be written is a dead letter
      MLflow UI                reads its own tables, unaware of us

`pipeline.consume()` and `worker.export_once()` are the heart. Imports point down, and `tests/unit/test_architecture.py`
holds them to it: errors → config, telemetry → tracing → otlp, queue → processor, exporter → pipeline, export → receiver →
server, worker, replay, local → cli.
"""

__version__ = "0.1.0"
