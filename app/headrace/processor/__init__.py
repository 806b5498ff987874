"""What happens to a request between the wire and the queue: validation, and routing to an MLflow experiment."""
