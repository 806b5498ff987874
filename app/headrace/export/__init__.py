"""Carries requests from the queue to MLflow: claim → translate → write → settle. Spans that can never be written become dead
letters."""
