"""What is served in the interpreter that has imported MLflow already, and what is started anew."""

import os
import signal
import sys
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from headrace.local.mlflow_process import APP, Server, serve_here, stay_in_one_interpreter

UVICORN = [sys.executable, "-m", "uvicorn"]
SET = {"_MLFLOW_SERVER_FILE_STORE": "postgresql://db", "_MLFLOW_SGI_NAME": "uvicorn"}


def test_mlflow_s_own_app_is_served_here_with_the_variables_of_mlflow_server() -> None:
    with patch.dict(os.environ):
        assert isinstance(serve_here([*UVICORN, "--port", "5000", APP], SET), Server)
        assert os.environ["_MLFLOW_SERVER_FILE_STORE"] == "postgresql://db"


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ([*UVICORN, "mlflow.server.auth:create_app"], SET),
        ([*UVICORN, "--factory", "mlflow.server.auth:create_app"], SET),
        ([sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:5000", APP], SET),
        ([*UVICORN, APP], SET | {"_MLFLOW_STATIC_PREFIX": "/mlflow"}),
        ([*UVICORN, APP], SET | {"prometheus_multiproc_dir": "/metrics"}),
        ([*UVICORN, APP], SET | {"_MLFLOW_OF_A_LATER_RELEASE": "1"}),
    ],
    ids=["login", "factory", "gunicorn", "prefix", "prometheus", "a later release"],
)
def test_what_mlflow_reads_while_it_is_imported_needs_a_new_interpreter(command: list[str], variables: dict[str, str]) -> None:
    before = dict(os.environ)
    assert serve_here(command, variables) is None
    assert dict(os.environ) == before


def test_a_release_that_starts_it_in_another_way_goes_on_doing_so() -> None:
    other = SimpleNamespace()
    stay_in_one_interpreter(other)
    assert vars(other) == {}
    told = SimpleNamespace(_exec_cmd=lambda command, **options: (command, options))
    stay_in_one_interpreter(told)
    assert told._exec_cmd(["gunicorn"], extra_env={}) == (["gunicorn"], {"extra_env": {}})
    assert told._exec_cmd([*UVICORN, APP], env={}) == ([*UVICORN, APP], {"env": {}})


def test_a_signal_before_the_server_serves_ends_the_process() -> None:
    with pytest.raises(SystemExit) as ended:
        Server([]).send_signal(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
