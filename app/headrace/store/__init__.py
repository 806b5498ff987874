"""Postgres, and Headrace's own schema in it. Nothing here knows MLflow's tables."""
