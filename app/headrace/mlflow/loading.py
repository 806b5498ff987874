"""MLflow is imported by one thread at a time.

Its modules import each other in circles: of two threads that begin at once, one may find a module half done, or be told of a
deadlock.
"""

from threading import Lock

_LOCK = Lock()


def load_mlflow() -> None:
    """Imports what the writer needs of MLflow: two seconds the first time. Call it before an import of what imports MLflow,
    wherever other threads may do so too."""
    with _LOCK:
        import headrace.mlflow.prices
        import headrace.mlflow.write.bulk  # noqa: F401
