"""What a person sees of a chat: messages one below the other, with tools, an image, reasoning, many turns, several agents."""

import json
import time

import pytest
from chats import Chat, chats
from conftest import Running, wait_until
from mlflow import MlflowClient
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
