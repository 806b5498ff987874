"""The wire model: OTLP bytes ↔ protobuf messages ↔ Python values. Pure; no I/O."""
