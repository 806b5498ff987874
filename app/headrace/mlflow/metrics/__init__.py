"""OTLP data points → the metrics of an MLflow run: its tables `metrics` and `latest_metrics`.

values.py      a data point → values: its own, or the count, sum and quantiles of a histogram
quantiles.py   quantiles of histograms
names.py       the name of a value in MLflow
translate.py   requests → rows
runs.py        which runs the rows are for, and whether their sender may change them; makes runs by name
steps.py       values of a step, each once
deltas.py      sums of intervals → running sums
shape.py       whether MLflow's tables are as the writer needs them
writer.py      rows → Postgres
prune.py       deletes what is kept of runs that are gone
"""
