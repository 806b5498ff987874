"""Postgres, and Headrace's own schema in it. This room does not know MLflow's tables."""
