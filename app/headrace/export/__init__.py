"""From the queue to MLflow: claim → translate → write → settle, and what can never be written."""
