"""What traces tell: where the time goes, what differs, who calls whom. Pure; no I/O.

    trace.py        `Span` and `Trace`: a forest of spans, whatever was sent
    otlp.py         OTLP → `Trace`
    path.py         the critical path, and self times
    compare.py      two traces side by side; a trace beside the median of its kind
    services.py     the dependency map
    operations.py   the operations that take most time

All times are integers in nanoseconds. All intervals are half-open: the start belongs to it, the end does not. Nothing recurses,
so that a trace may be as deep as it likes, and each function takes O(n log n) steps for n spans.
"""
