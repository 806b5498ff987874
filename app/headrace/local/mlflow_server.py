"""`mlflow server` on a database, and MLflow's schema in it."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from headrace.config import Config, sqlalchemy_url
from headrace.errors import StartError
from headrace.local.child import Child, browsable


class MlflowServer(Child):
    """`mlflow server` on a database."""

    def __init__(self, config: Config) -> None:
        self.url = f"http://{browsable(config.ui_host)}:{config.ui_port}"
        command = [
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", config.ui_host, "--port", str(config.ui_port), "--workers", "1"),
            *("--artifacts-destination", str(config.data_dir / "artifacts")),
        ]
        super().__init__("mlflow-server", "mlflow", config.data_dir, command)

    def environment(self, database_url: str) -> Mapping[str, str]:
        """See `Child.environment`."""
        return {"MLFLOW_BACKEND_STORE_URI": sqlalchemy_url(database_url)}

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310 - our own http URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def upgrade_mlflow_schema(database_url: str) -> None:
    """Runs `mlflow db upgrade`: creates MLflow's tables, or brings them up to date.

    Raises:
        StartError: it failed. The message has the last line of its output.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(database_url)]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        raise StartError(f"`mlflow db upgrade` failed: {lines[-1][:500] if lines else 'it has said nothing'}")
