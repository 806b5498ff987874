"""Headrace: the OTLP intake for MLflow.

The way of a span through this package, top to bottom. This is the only drawing of it; docs/architecture.md links here.

    wire bytes
      receiver/http.py, grpc/    read the body: bounded in bytes and in time               408, 411, 413
      receiver/intake.py         the steps that HTTP and gRPC share:
       ├─ receiver/auth/         whose API key is it?                                      401
       ├─ otlp/compression.py    undo Content-Encoding, within bounds                      400, 413, 415
       ├─ otlp/                  bytes and Content-Type → ExportTraceServiceRequest        400, 415
       └─ receiver/limits.py     spans and bytes a second                                  429
      pipeline.py                the processors in order, then the queue:
       ├─ processor/             validate: take out impossible spans, counted by reason    partial_success
       ├─ processor/, mlflow/    route: each resource → its MLflow experiment              400, 403, 429
       └─ queue/                 offer(): returns once the envelope is fsynced             503 + Retry-After
      receiver/                  200, in the request's own encoding
    ------------ what was answered with 200 survives kill -9 and an outage of the database ------------
      export/worker.py           claim: take a batch out of the queue
      export/exporter.py         hand it to a writer; if that fails for good, halve it down to the one bad span
       ├─ mlflow/translate/      OTLP → spans as rows, and the parts of traces
       ├─ mlflow/fold/           parts of traces, and what Postgres holds → what shall stand
       └─ mlflow/write/          one transaction, idempotent
      store/dead_letters.py      keep a span that can never be written, with the reason
      export/worker.py           settle: delete the batch from the queue
    MLflow UI                    reads its own tables and knows nothing of Headrace

`Pipeline.consume()` and the worker's loop are the heart. Imports point down, in the order that tests/unit/test_architecture.py
holds the rooms to.
"""

__version__ = "0.1.0"
