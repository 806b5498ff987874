"""The MLflow run that the demo's pipeline belongs to, made with MLflow's REST API, as `mlflow.start_run()` makes one."""

import json
import time
import urllib.request
from http.client import HTTPException
from typing import Any

_SECONDS = 10.0


def start_run(by: urllib.request.OpenerDirector, mlflow_url: str, experiment_id: str) -> str:
    """The id of a new run. Empty: MLflow does not answer, or makes none."""
    made = _call(by, mlflow_url, "create", experiment_id=experiment_id, run_name="churn", start_time=_now())
    return str(made.get("run", {}).get("info", {}).get("run_id", ""))


def end_run(by: urllib.request.OpenerDirector, mlflow_url: str, run_id: str) -> None:
    """Marks the run as finished."""
    _call(by, mlflow_url, "update", run_id=run_id, status="FINISHED", end_time=_now())


def _call(by: urllib.request.OpenerDirector, mlflow_url: str, what: str, **values: Any) -> dict[str, Any]:
    url = f"{mlflow_url}/api/2.0/mlflow/runs/{what}"
    post = urllib.request.Request(url, json.dumps(values).encode(), {"content-type": "application/json"})  # noqa: S310
    try:
        with by.open(post, timeout=_SECONDS) as answer:
            found = json.load(answer)
    except (OSError, HTTPException, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> int:
    return time.time_ns() // 1_000_000
