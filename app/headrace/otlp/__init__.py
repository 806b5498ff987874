"""The wire format: OTLP bytes ↔ protobuf messages ↔ Python values. No I/O."""
