"""MLflow's own `/v1/traces` in this process: no server to start, and its database can be emptied between two requests."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import httpx

from headrace.config import sqlalchemy_url
from parity.scenario import Exchange

Send = Callable[[Exchange], httpx.Response]


@contextmanager
def mlflow_in_process(url: str) -> Iterator[Send]:
    """A function that sends a request to the endpoint, which writes to the database at `url`."""
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from mlflow.server import handlers
    from mlflow.server.otel_api import otel_router

    app = FastAPI()
    app.include_router(otel_router)
    with patch.dict(os.environ, MLFLOW_DISABLE_TELEMETRY="true"), patch.object(handlers, "_tracking_store", None):
        store: Any = handlers._get_tracking_store(sqlalchemy_url(url), "mlflow-artifacts:/")
        with TestClient(app) as client:

            def send(exchange: Exchange) -> httpx.Response:
                headers = {**exchange.headers, "content-type": "application/x-protobuf"}
                answer: httpx.Response = client.post(
                    "/v1/traces", content=exchange.request.SerializeToString(), headers=headers
                )
                return answer

            yield send
        store._dispose_engine()
