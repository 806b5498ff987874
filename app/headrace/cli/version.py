"""What `headrace --version` prints."""

from importlib.metadata import PackageNotFoundError, version

from headrace import __version__


def version_lines() -> list[str]:
    """One line for each thing that has a version: Headrace, and the MLflow whose code it runs. Does not import MLflow."""
    return [f"headrace {__version__}", f"MLflow {_mlflow()}"]


def _mlflow() -> str:
    """MLflow's version, and the package that it is from: `mlflow`, which has the UI, or else `mlflow-skinny`."""
    for package in ("mlflow", "mlflow-skinny"):
        try:
            return f"{version(package)} ({package})"
        except PackageNotFoundError:
            continue
    return "is missing"
