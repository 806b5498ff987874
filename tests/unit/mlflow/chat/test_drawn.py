"""What is written of a chat, so that MLflow's UI draws it: only where it would not, and never in place of what was sent."""

import json
from collections import Counter
from typing import Any

import pytest
from chats import chats

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.fold.root_decides import RootDecides
from headrace.mlflow.translate.chat.drawn import is_drawn
from headrace.mlflow.translate.parts import to_parts
from headrace.mlflow.translate.readback import to_span

USER = {"role": "user", "content": "Hi?"}
AI = {"role": "assistant", "content": "Hello."}
GENAI = [{"role": "user", "parts": [{"type": "text", "content": "Hi?"}]}]
GENAI_AI = [{"role": "assistant", "parts": [{"type": "text", "content": "Hello."}], "finish_reason": "stop"}]
ODD_AI = [{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Hello."}]}]


def stored(attrs: dict[str, Any], enrich: bool = True, **fields: Any) -> dict[str, Any]:
    """The attributes of a span as they are written, parsed."""
    delivery = Delivery(otlp.request(otlp.span(attrs=attrs, **fields)), (pb.Destination(experiment_id="0"),), "", 0, "")
    policy: Any = RootDecides() if enrich else ArrivalOrder()
    (part,) = to_parts(delivery, Counter(), policy)
    (row,) = part.spans.values()
    assert list(to_span(json.loads(row.content)).attributes) == otlp.attributes(attrs) or not enrich
    return {key: json.loads(value) for key, value in json.loads(row.content)["attributes"].items()}


def genai(sent: Any, answered: Any = None, **more: Any) -> dict[str, Any]:
    attrs = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(sent)}
    if answered is not None:
        attrs["gen_ai.output.messages"] = json.dumps(answered)
    return attrs | more


def openinference(sent: Any, answered: Any) -> dict[str, Any]:
    return {"openinference.span.kind": "LLM", "input.value": json.dumps(sent), "output.value": json.dumps(answered)}


@pytest.mark.parametrize(
    "attrs",
    [
        genai(GENAI, GENAI_AI),
        genai([USER], [AI]),
        openinference({"messages": [USER], "temperature": 1}, {"choices": [{"message": AI}], "usage": {}}),
        openinference([USER], "Hello."),
        openinference({"order": 5}, {"status": "paid"}),
        {"a": 1},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": '{"city": "Paris"}'},
    ],
)
def test_what_the_ui_draws_is_left_alone(attrs: dict[str, Any]) -> None:
    before, after = stored(attrs, enrich=False), stored(attrs)
    for key in ("mlflow.spanInputs", "mlflow.spanOutputs"):
        assert after.get(key) == before.get(key)


def test_parts_that_the_ui_does_not_know_are_written_so_that_it_does() -> None:
    found = stored(genai(GENAI, ODD_AI))
    assert found["mlflow.spanInputs"] == GENAI
    assert found["mlflow.spanOutputs"] == [AI | {"reasoning": "Hm."}]
    assert found["gen_ai.output.messages"] == ODD_AI


def test_without_enrichment_it_is_mlflow_s_own() -> None:
    assert stored(genai(GENAI, ODD_AI), enrich=False)["mlflow.spanOutputs"] == ODD_AI


@pytest.mark.parametrize(
    "instructions",
    ["Be brief.", '[{"type": "text", "content": "Be brief."}]', '{"role": "system", "parts": [{"content": "Be brief."}]}'],
)
def test_the_system_s_instructions_come_first(instructions: str) -> None:
    found = stored(genai(GENAI, GENAI_AI, **{"gen_ai.system_instructions": instructions}))
    system = {"role": "system", "content": "Be brief."}
    assert found["mlflow.spanInputs"] == [system, USER]
    told_already = [{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]}, *GENAI]
    again = stored(genai(told_already, GENAI_AI, **{"gen_ai.system_instructions": instructions}))
    assert again["mlflow.spanInputs"] == [system, USER]


def test_what_stands_beside_the_messages_stays() -> None:
    asked = {"model": "claude", "max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "Hi?"}]}
    answer = {"id": "m", "role": "assistant", "content": [{"type": "text", "text": "Hello."}], "usage": {"input_tokens": 1},
              "stop_reason": "end_turn"}  # fmt: skip
    found = stored(openinference(asked, answer))
    assert found["mlflow.spanInputs"] == {
        "messages": [{"role": "system", "content": "Be brief."}, USER], "model": "claude", "max_tokens": 9
    }  # fmt: skip
    assert found["mlflow.spanOutputs"]["messages"] == [AI]
    assert found["mlflow.spanOutputs"]["usage"] == {"input_tokens": 1}


def test_an_answer_in_parts_is_one_text_in_a_choice() -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    found = stored(openinference([USER], {"choices": [{"message": AI | {"content": parts}}]}))
    (choice,) = found["mlflow.spanOutputs"]["choices"]
    assert choice["message"]["content"] == "Look:\n\n![](https://x.test/a.png)"


def test_one_side_that_is_a_chat_makes_the_other_a_message_of_it() -> None:
    """A structured answer, and a question that is a plain text: the UI shows both raw if one is no chat."""
    assert stored(openinference([USER], {"city": "Paris"}))["mlflow.spanOutputs"] == [
        {"role": "assistant", "content": '{"city": "Paris"}'}
    ]
    assert stored(openinference("Hi?", [AI]))["mlflow.spanInputs"] == [USER]


def test_a_tool_s_arguments_are_no_message() -> None:
    answer = {"messages": [{"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]}]}
    found = stored({"openinference.span.kind": "TOOL", "input.value": "Paris", "output.value": json.dumps(answer)})
    assert found["mlflow.spanInputs"] == "Paris"


@pytest.mark.parametrize("form", ["vercel_ai", "pydantic_ai", "voltagent"])
def test_in_another_message_format_it_is_a_list(form: str) -> None:
    """There the UI looks for that format alone, but takes a list of messages."""
    asked = {"messages": [{"role": "user", "content": [{"type": "hologram", "content": "Hi?"}]}]}
    found = stored(openinference(asked, ODD_AI) | {"mlflow.message.format": form})
    assert found["mlflow.spanInputs"] == [USER]


@pytest.mark.parametrize("given", [{"mlflow.spanInputs": '{"contents": []}'}, {"mlflow.spanInputs": json.dumps(ODD_AI)}])
def test_inputs_that_the_client_named_stay(given: dict[str, Any]) -> None:
    found = stored(genai(GENAI, ODD_AI) | given)
    assert found["mlflow.spanInputs"] == json.loads(given["mlflow.spanInputs"])
    assert found["mlflow.spanOutputs"] == [AI | {"reasoning": "Hm."}]


@pytest.mark.parametrize("text", ["[{broken", "", "null", "[]", '[{"role": "user", "parts": []}]', "[" * 5000])
def test_a_broken_chat_is_written_as_it_came(text: str) -> None:
    attrs = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": text, "gen_ai.output.messages": json.dumps(ODD_AI)}
    assert stored(attrs)["mlflow.spanOutputs"] == [AI | {"reasoning": "Hm."}]


@pytest.mark.parametrize("odd", [["x"], {"a": 1}, 5, None])
def test_values_of_an_odd_type_harm_nobody(odd: Any) -> None:
    messages = [
        {"role": odd, "type": odd, "kind": odd, "content": odd, "tool_calls": odd, "data": odd, "parts": odd, "name": odd}
    ]
    found = stored(genai(messages, ODD_AI, **{"gen_ai.system_instructions": json.dumps(odd)}))
    assert found["mlflow.spanOutputs"] == [AI | {"reasoning": "Hm."}]


def test_a_huge_chat_does_not_grow() -> None:
    """A picture in each of three messages: as large as it was sent, twice, as with MLflow."""
    picture = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "A" * 100_000}
    sent = genai([{"role": "user", "parts": [picture]}] * 3, ODD_AI)
    assert len(json.dumps(stored(sent))) < 1.01 * len(json.dumps(stored(sent, enrich=False)))


@pytest.mark.parametrize("chat", chats(otlp.START), ids=lambda chat: chat.name)
def test_each_of_five_chats_is_drawn(chat: Any) -> None:
    delivery = Delivery(otlp.request(*chat.spans), (pb.Destination(experiment_id="0"),), "", 0, "")
    (part,) = to_parts(delivery, Counter(), RootDecides())
    (row,) = (row for row in part.spans.values() if row.name == chat.span)
    attributes = {key: json.loads(value) for key, value in json.loads(row.content)["attributes"].items()}
    assert all(is_drawn(attributes[key], None) for key in ("mlflow.spanInputs", "mlflow.spanOutputs"))
