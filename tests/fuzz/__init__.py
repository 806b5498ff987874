"""Bodies that no exporter sends, in bulk: mutated OTLP through the pure core, over the wire, and bombs. See docs/fuzzing.md."""
