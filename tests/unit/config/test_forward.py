"""The settings of the endpoint that metrics are passed on to."""

import pytest

from headrace.config import load
from headrace.errors import StartError


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("metrics_forward", "collector:4318"),
        ("metrics_forward", "http://me:secret@collector:4318/v1/metrics"),
        ("metrics_forward_headers", "secret"),
        ("metrics_forward_headers", "a=secret%0ab"),
        ("metrics_forward_seconds", "0"),
        ("metrics_forward_seconds", "604801"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(setting: str, value: str) -> None:
    with pytest.raises(StartError, match=f"HEADRACE_{setting.upper()}") as refusal:
        load(**{setting: value})
    assert "secret" not in str(refusal.value)


def test_an_endpoint_without_a_path_gets_otlp_s() -> None:
    assert load(metrics_forward="https://collector:4318").metrics_forward == "https://collector:4318/v1/metrics"
    assert load(metrics_forward="http://p/api/v1/otlp/v1/metrics").metrics_forward == "http://p/api/v1/otlp/v1/metrics"
    assert load(metrics_forward="").metrics_forward is None
