"""OTLP → rows of MLflow's tables, and back. No I/O."""
