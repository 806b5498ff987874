"""What Headrace tells of itself: `metrics.py` and `logging.py`. Its own traces are in `headrace.tracing`."""
