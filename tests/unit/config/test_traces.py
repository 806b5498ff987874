"""The settings of Headrace's own traces."""

import pytest

from headrace.config import load
from headrace.errors import StartError


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("traces_endpoint", "collector:4318"),
        ("traces_endpoint", "grpc://collector:4317"),
        ("traces_endpoint", "http://"),
        ("traces_endpoint", "http://collector:secret/"),
        ("traces_endpoint", "http://me:secret@collector:4318/v1/traces"),
        ("traces_headers", "secret"),
        ("traces_headers", "a b=secret"),
        ("traces_headers", "a=secret%0ab"),
        ("traces_headers", "a=1,=secret"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(setting: str, value: str) -> None:
    with pytest.raises(StartError, match=f"HEADRACE_{setting.upper()}") as refusal:
        load(**{setting: value})
    assert "secret" not in str(refusal.value)


def test_an_endpoint_without_a_path_gets_otlp_s() -> None:
    assert load(traces_endpoint="https://collector:4318").traces_endpoint == "https://collector:4318/v1/traces"
    assert load(traces_endpoint="http://c/otel/v1/traces").traces_endpoint == "http://c/otel/v1/traces"
    assert load(traces_endpoint="").traces_endpoint is None
