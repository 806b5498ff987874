"""Headrace's own metrics and log. Its own traces are in `headrace.tracing`."""
