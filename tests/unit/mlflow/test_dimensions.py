"""MLflow 3.14 to 3.16 keep a span's model and provider as JSON."""

import json

import pytest

from headrace.mlflow.model import SpanRow
from headrace.mlflow.write.totals_in_rows import TotalsInRows

MODEL, PROVIDER = "mlflow.llm.model", "mlflow.llm.provider"


@pytest.mark.parametrize(
    ("model", "provider", "stored"),
    [
        ("large", "us", {MODEL: "large", PROVIDER: "us"}),
        ("large", None, {MODEL: "large"}),
        (None, None, None),
        ("large", "", {MODEL: "large", PROVIDER: ""}),  # it is what the client said, and so MLflow keeps it
        ("", None, {MODEL: ""}),
    ],
)
def test_model_and_provider_are_kept_as_they_were_said(model: str | None, provider: str | None, stored: object) -> None:
    row = SpanRow("tr-1", "1", None, "chat", None, "OK", 0, 1, "{}", None, None, None, model, provider)
    assert json.loads(TotalsInRows().span(row)[-1]) == stored
