"""What a person sees of a chat: messages one below the other, with tools, an image, reasoning, many turns, several agents."""

import json
import os
import time

import pytest
from chats import Chat, chats
from conftest import Running, wait_until
from fake_models.said import ANSWER, THOUGHT
from frameworks import export
from mlflow import MlflowClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from playwright.sync_api import Page, expect

import otlp
from world.browser.test_ui import page, pytestmark

__all__ = ["page", "pytestmark"]  # pytest finds them here: no chromium, no test


@pytest.fixture(scope="module")
def sent(up: Running) -> tuple[str, dict[str, Chat]]:
    """An experiment with the five chats, and each by the id of its trace."""
    experiment_id = MlflowClient(up.ui_url).create_experiment("chats")
    made = chats(time.time_ns())  # the list shows the last seven days
    for chat in made:
        answer = up.post(otlp.request(*chat.spans).SerializeToString(), x_mlflow_experiment_id=experiment_id)
        assert answer.status_code == 200
    wait_until(up.drained)
    return experiment_id, {otlp.trace_id_of(chat.spans[0]): chat for chat in made}


def test_the_list_shows_what_was_asked_and_answered(page: Page, up: Running, sent: tuple[str, dict[str, Chat]]) -> None:
    experiment_id, made = sent
    page.goto(f"{up.ui_url}/#/experiments/{experiment_id}/traces")
    for trace_id, chat in made.items():
        row = page.get_by_role("row").filter(has=page.get_by_label(f"Select trace {trace_id}"))
        for text in (chat.asked, chat.answered):
            expect(row).to_contain_text(text)


def test_each_chat_is_drawn_as_one(page: Page, up: Running, sent: tuple[str, dict[str, Chat]]) -> None:
    experiment_id, made = sent
    for trace_id, chat in made.items():
        page.goto("about:blank")
        page.goto(f"{up.ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}")
        dialog = page.get_by_role("dialog")
        dialog.locator("[data-testid^=timeline-tree-node-]").get_by_text(chat.span, exact=True).click()
        for text in chat.drawn:
            expect(dialog.get_by_text(text).first).to_be_visible()
        for role in ("User", "Assistant"):
            expect(dialog.get_by_text(role, exact=True).first).to_be_visible()
        for raw in ('"parts"', '"role"', "tool_call_response", "kwargs"):
            expect(dialog.get_by_text(raw)).to_have_count(0)
        if chat.name == "image":
            picture = dialog.locator("img[src^='data:image/png;base64,']")
            expect(picture).to_be_visible()
            assert json.loads(picture.evaluate("image => JSON.stringify([image.naturalWidth, image.naturalHeight])")) == [
                160,
                90,
            ]
        if chat.name == "reasoning":
            dialog.get_by_text("Reasoning", exact=True).click()
            expect(dialog.get_by_text("221 is 13 times 17.")).to_be_visible()


def recent(name: str) -> ExportTraceServiceRequest:
    """What a real program has exported, as if it had run just now."""
    request = ExportTraceServiceRequest()
    request.CopyFrom(export(name))
    trace_id, spans = (
        os.urandom(16),
        [span for each in request.resource_spans for inner in each.scope_spans for span in inner.spans],
    )
    later = time.time_ns() - max(span.end_time_unix_nano for span in spans)
    for span in spans:
        span.trace_id = trace_id
        span.start_time_unix_nano += later
        span.end_time_unix_nano += later
    return request


@pytest.mark.parametrize(("name", "call"), [("openai_reasoning", "Response"), ("anthropic_thinking", "messages.create")])
def test_a_real_program_s_picture_and_reasoning_are_drawn(page: Page, up: Running, name: str, call: str) -> None:
    experiment_id = MlflowClient(up.ui_url).create_experiment(f"drawn {name}")
    request = recent(name)
    assert up.post(request.SerializeToString(), x_mlflow_experiment_id=experiment_id).status_code == 200
    wait_until(up.drained)
    trace_id = otlp.trace_id_of(request.resource_spans[0].scope_spans[0].spans[0])
    page.goto("about:blank")
    page.goto(f"{up.ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}")
    dialog = page.get_by_role("dialog")
    dialog.locator("[data-testid^=timeline-tree-node-]").get_by_text(call, exact=True).last.click()
    for text in ("You are a helpful assistant.", "What is the weather in Paris?", ANSWER):
        expect(dialog.get_by_text(text).first).to_be_visible()
    expect(dialog.locator("img[src^='data:image/png;base64,']").first).to_be_visible()
    dialog.get_by_text("Reasoning", exact=True).last.click()
    expect(dialog.get_by_text(THOUGHT).last).to_be_visible()
    for raw in ('"role"', '"content"', "tool_use", "input_image", "message_content"):
        expect(dialog.get_by_text(raw)).to_have_count(0)
