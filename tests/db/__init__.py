"""Tests in this process, with real files and one real Postgres."""
