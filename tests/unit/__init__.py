"""Tests without any I/O: no socket, no process, no Postgres, nothing written. tests/unit/conftest.py holds them to it."""
