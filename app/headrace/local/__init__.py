"""What `headrace up` brings along: an embedded Postgres, MLflow's server on it, and a demo."""
