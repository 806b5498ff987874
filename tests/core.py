"""A program for a Python that has Headrace's core. It imports each module of Headrace with nothing at hand but what the core's
lock file installs. It prints as JSON what could not be imported, and which foreign packages came along all the same."""

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

_LOCK = Path(__file__).parents[1] / "requirements.lock"
_MINE = "headrace"


class NotInTheCore(MetaPathFinder):
    """Finds nothing, and says of what is installed beside the core that it is not there."""

    def __init__(self) -> None:
        locked = {_plain(name) for name in re.findall(r"^([\w.-]+)==", _LOCK.read_text(), re.MULTILINE)} | {_MINE}
        of = packages_distributions()
        self.foreign = {top for top, names in of.items() if not locked & set(map(_plain, names))}
        files = distribution("mlflow-skinny").files or []
        self._skinny = {str(file) for file in files if file.parts[0] == "mlflow"}
        """The whole MLflow has its modules in the same package: those that are not of the skinny one are absent, too."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for what the core lacks; None has Python look further."""
        stem = fullname.replace(".", "/")
        whole = fullname.startswith("mlflow.") and not {f"{stem}.py", f"{stem}/__init__.py"} & self._skinny
        if fullname in self.foreign or whole:
            raise ModuleNotFoundError(f"No module named {fullname!r} in the core", name=fullname)
        return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _failures() -> Iterator[str]:
    package = importlib.import_module(_MINE)
    for module in pkgutil.walk_packages(package.__path__, f"{_MINE}."):
        if module.name != f"{_MINE}.__main__":
            try:
                importlib.import_module(module.name)
            except Exception as error:
                yield f"{module.name}: {error!r}"


def _main() -> None:
    core = NotInTheCore()
    before = set(sys.modules)  # what Python's own start imports: hooks in the environment
    sys.meta_path.insert(0, core)
    failures = list(_failures())
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(json.dumps({"failures": failures, "foreign": sorted(loaded & core.foreign)}))


if __name__ == "__main__":
    _main()
