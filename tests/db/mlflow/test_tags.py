"""The tags of a trace."""


def test_known_service_names_are_mlflow_s() -> None:
    from mlflow.server.otel_api import _KNOWN_SERVICE_NAMES

    from headrace.mlflow.translate.tags import KNOWN_SERVICE_NAMES

    assert KNOWN_SERVICE_NAMES == _KNOWN_SERVICE_NAMES
