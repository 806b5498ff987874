"""Large libraries that MLflow imports for its models wherever they are installed, and never for spans."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

LIBRARIES = ("numpy", "pandas", "pyarrow", "scipy")


class _NotHere(MetaPathFinder):
    """Says of these libraries what Python says where they are not installed.

    (`sys.modules["numpy"] = None` would say it, too. But psycopg looks there for numpy, and takes None for the library.)
    """

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """See importlib's `MetaPathFinder`."""
        if fullname in LIBRARIES:
            raise ModuleNotFoundError(f"No module named {fullname!r}: it is left out here", name=fullname)
        return None


def leave_out_libraries() -> None:
    """Has MLflow find none of them, as with `mlflow-skinny`. That saves 90 MiB of memory. For a process of Headrace's own,
    before it imports MLflow. MLflow's server runs in another process."""
    if not any(isinstance(finder, _NotHere) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NotHere())
