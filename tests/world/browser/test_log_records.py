"""What a person sees of prompts and answers that came as log records: a chat."""

from pathlib import Path

import httpx
import log_exports
from conftest import Running, wait_until
from mlflow import MlflowClient
from playwright.sync_api import Page, expect

from world.browser.test_ui import page, pytestmark

__all__ = ["page", "pytestmark"]  # pytest finds them here: no chromium, no test


def test_messages_out_of_log_records_are_shown_as_a_chat(page: Page, up: Running, tmp_path: Path) -> None:
    experiment_id = MlflowClient(up.ui_url).create_experiment("log records")
    spans, logs = log_exports.load("genai_events_in_logs")
    headers = {"content-type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}
    for signal, message in (("logs", logs), ("traces", spans)):
        answer = httpx.post(f"{up.url}/v1/{signal}", content=message.SerializeToString(), headers=headers, timeout=30)
        assert answer.status_code == 200
    wait_until(up.drained)
    trace_id = f"tr-{spans.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()}"
    wait_until(lambda: MlflowClient(up.ui_url).get_trace(trace_id).data.spans)
    page.goto(f"{up.ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("chat gpt-4o-mini").nth(1).click()
    for text in ("You are a helpful assistant.", "What is the weather in Paris?", "get_weather", "sunny, 21"):
        expect(dialog.get_by_text(text).first).to_be_visible()
    expect(dialog.get_by_text("The weather in Paris is sunny, 21 degrees.").first).to_be_visible()
    expect(dialog.get_by_text('"parts"')).to_have_count(0)  # a chat, and no JSON
    page.screenshot(path=tmp_path / "chat.png")
