"""Headrace writes what MLflow's own endpoint would have written: every scenario of the corpus goes down both roads."""
