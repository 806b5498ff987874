"""What a person sees of a plain OpenTelemetry trace, which has no inputs and outputs: what it was, and how it ended."""

import re
import time

from conftest import Running, wait_until
from mlflow import MlflowClient
from playwright.sync_api import Page, expect

from otlp import request, span, trace_id_of
from world.browser.test_ui import page, pytestmark

__all__ = ["page", "pytestmark"]  # pytest finds them here: no chromium, no test

_MS = 1_000_000
_SERVER = 2


def test_the_list_says_what_a_plain_trace_was_and_how_it_ended(page: Page, up: Running) -> None:
    experiment_id = MlflowClient(up.ui_url).create_experiment("plain")
    end = time.time_ns()  # the list shows the last seven days
    attributes = {"http.request.method": "POST", "http.route": "/checkout", "http.response.status_code": 200}
    root = span("POST", start=end - 412 * _MS, end=end, kind=_SERVER, attrs=attributes)
    assert up.post(request(root).SerializeToString(), x_mlflow_experiment_id=experiment_id).status_code == 200
    wait_until(up.drained)
    page.goto(f"{up.ui_url}/#/experiments/{experiment_id}/traces")
    row = page.get_by_role("row").filter(has=page.get_by_label(f"Select trace {trace_id_of(root)}"))
    for text in ("POST /checkout", "200", "412ms"):
        expect(row.get_by_text(text, exact=True)).to_be_visible()
    expect(row.get_by_text(re.compile(r"^\s*-\s*$"))).to_have_count(1)  # the tokens
