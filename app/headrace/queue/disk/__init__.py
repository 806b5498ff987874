"""The queue on this machine's disk: one SQLite file a process."""
