"""What shows traces to people: Jaeger's storage API (`jaeger/`), over a `TraceReader`. `access.py` says who may see what."""
