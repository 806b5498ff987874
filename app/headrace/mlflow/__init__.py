"""OTLP → MLflow's tables. With `headrace.local`, the one package that knows MLflow.

shape/          what a writer needs of each table, beside what Postgres has
schema.py       can these tables be written, and by whom
experiments/    which experiment a name or an id is
translate/      OTLP → rows: what MLflow's translation makes of a span, and what Headrace adds
fold/           parts of traces → the traces as they shall stand
write/          one transaction
fallback.py     through MLflow's own store, where the bulk writer does not know the tables
"""
