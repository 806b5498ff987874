"""What people's programs really send beside the textbook forms of a chat: tools that the provider runs itself, pieces of a
stream, pairs, JSON within JSON, messages that say nothing, a question beside the turns before it."""

import json
from typing import Any

import pytest
from frameworks import shown, trace_of

import otlp
from headrace.mlflow.translate.chat.drawn import is_drawn
from headrace.mlflow.translate.chat.preview import words_of
from headrace.mlflow.translate.chat.shapes import chat_of

USER, AI = {"role": "user", "content": "Rain?"}, {"role": "assistant", "content": "Yes."}
PARTS = [{"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}]
OPENAI = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "It is "}}]},
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "sunny."}}]},
    {"object": "chat.completion.chunk", "choices": []},
]
OPENAI_CALL = [
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "get", "arguments": ""}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}, "finish_reason": "tool_calls"}]},
]
ANTHROPIC = [
    {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me see."}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c", "name": "get", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
]
CONVERSE = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "It is "}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": "sunny."}, "contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
]
GEMINI = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm.", "thought": True}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "It is "}, {"text": "sunny."}]}}]},
]
OLLAMA = [{"message": {"role": "assistant", "content": text}, "done": text == "."} for text in ("It is ", "sunny", ".")]
RESPONSES = [
    {"type": "response.created", "response": {"output": []}},
    {"type": "response.output_text.delta", "delta": "It is"},
    {"type": "response.completed", "response": {"output": [{"type": "message", "role": "assistant", "content": [
        {"type": "output_text", "text": "It is sunny."}]}]}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (OPENAI, "It is sunny."), (OPENAI_CALL, 'get({"a": 1})'), (ANTHROPIC, "Let me see."), (CONVERSE, "It is sunny."),
        (GEMINI, "It is sunny."), (OLLAMA, "It is sunny."), (RESPONSES, "It is sunny."), (RESPONSES[:2], "It is"),
    ],
)  # fmt: skip
def test_the_pieces_of_a_stream_are_one_answer(pieces: list[Any], said: str) -> None:
    assert words_of(json.dumps(pieces), "assistant") == said
    span = shown({"openinference.span.kind": "LLM", "input.value": json.dumps([USER]), "output.value": json.dumps(pieces)})
    assert is_drawn(span.outputs, None)
    assert len([message for message in span.outputs if message["role"] == "assistant"]) == 1


def test_a_stream_s_calls_are_whole() -> None:
    (message,) = chat_of(ANTHROPIC, "assistant") or []
    (call,) = message["tool_calls"]
    assert (call["id"], call["function"]) == ("c", {"name": "get", "arguments": '{"a": 1}'})


@pytest.mark.parametrize(
    ("block", "name", "result"),
    [
        ({"type": "server_tool_call", "id": "s", "name": "web_search", "server_tool_call": {"type": "search", "query": "x"}},
         'web_search({"query": "x"})', ""),
        ({"type": "server_tool_call_response", "id": "s", "server_tool_call_response": {"hits": 1}}, "", '{"hits": 1}'),
        ({"type": "web_search_call", "id": "w", "action": {"query": "x"}}, 'web_search({"query": "x"})', ""),
        ({"type": "file_search_call", "id": "w", "queries": ["x"], "results": None}, 'file_search(["x"])', ""),
        ({"type": "mcp_call", "id": "w", "name": "get", "arguments": "{}", "output": "found"}, "get()", "found"),
        ({"type": "code_interpreter_call", "id": "w", "code": "1 + 1"}, "code_interpreter(1 + 1)", ""),
        ({"type": "mcp_tool_use", "id": "m", "name": "get", "input": {"a": 1}}, 'get({"a": 1})', ""),
        ({"type": "bash_code_execution_tool_result", "tool_use_id": "b", "content": {"stdout": "2"}}, "", '{"stdout": "2"}'),
        ({"executableCode": {"language": "PYTHON", "code": "1"}}, 'code_execution({"language": "PYTHON", "code": "1"})', ""),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, "", "1"),
        ({"toolResult": {"toolUseId": "t", "content": [{"json": {"a": 1}}]}}, "", '{"a": 1}'),
    ],
)  # fmt: skip
def test_tools_that_a_provider_runs_are_calls_and_results(block: dict[str, Any], name: str, result: str) -> None:
    chat = chat_of([{"role": "assistant", "content": [block]}], "assistant") or []
    calls = [call["function"] for message in chat for call in message.get("tool_calls", ())]
    assert [f"{call['name']}({'' if call['arguments'] == '{}' else call['arguments']})" for call in calls] == [name] * bool(
        name
    )
    assert [message["content"] for message in chat if message["role"] == "tool"] == [result] * bool(result)


def test_an_answer_of_openai_s_responses_with_tools_is_read_whole() -> None:
    output = [
        {"type": "mcp_list_tools", "id": "l", "tools": []},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "rain"}},
        {"type": "image_generation_call", "id": "i", "result": "aGVsbG8="},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is sunny."}]},
    ]
    chat = chat_of({"id": "r", "output": output}, "assistant") or []
    assert [message["role"] for message in chat] == ["assistant"] * len(chat)
    assert words_of(json.dumps({"output": output}), "assistant") == "It is sunny."
    assert "data:image/png;base64,aGVsbG8=" in json.dumps(chat)


@pytest.mark.parametrize(
    ("value", "role", "said"),
    [
        ({"messages": [["user", "Rain?"]]}, "user", "Rain?"),
        ({"messages": "Rain?"}, "user", "Rain?"),
        ({"messages": [["human", "Rain?"], ["ai", "Yes."]]}, "assistant", "Yes."),
        ({"agent": {"messages": [AI]}}, "assistant", "Yes."),
        ({"model": "gemini", "contents": "Rain?", "config": {"system_instruction": "Be brief."}}, "user", "Rain?"),
        ({"model": "gpt", "input": "Rain?"}, "user", "Rain?"),
        ({"prompt": "Rain?", "max_gen_len": 5}, "user", "Rain?"),
        ({"generation": "Yes.", "stop_reason": "stop", "generation_token_count": 2}, "assistant", "Yes."),
        ({"message": "Rain?", "chat_history": [{"role": "USER", "message": "Hi."}], "preamble": "Be brief."}, "user", "Rain?"),
        ({"text": "Yes.", "generation_id": "g", "chat_history": [{"role": "USER", "message": "Hi."}]}, "assistant", "Yes."),
        ({"input": "Rain?", "chat_history": [{"type": "human", "content": "Hi."}]}, "user", "Rain?"),
        ({"input": "Rain?", "chat_history": []}, "user", "Rain?"),
        ({"input": "Rain?", "chat_history": [USER], "output": "Yes."}, "assistant", "Yes."),
        ({"inputs": {"input": "Rain?", "chat_history": [AI]}, "tags": [], "kwargs": {"name": "x"}}, "user", "Rain?"),
        ({"outputs": {"output": "Yes."}, "kwargs": {"tags": [1]}}, "assistant", "Yes."),
        ({"user_msg": "Rain?", "chat_history": None}, "user", "Rain?"),
        ({"query": "Rain?", "result": "Yes.", "source_documents": [{"page_content": "x"}]}, "assistant", "Yes."),
        ({"lc": 1, "type": "constructor", "id": ["ChatPromptValue"], "kwargs": {"messages": [USER]}}, "user", "Rain?"),
        ([{"supervisor": {"next": "writer"}}, {"writer": {"messages": [AI]}}, {"end": None}], "assistant", "Yes."),
        ({"model": "m", "prompt": ["Rain?"]}, "user", "Rain?"),
        ({"text": "Yes.", "files": []}, "assistant", "Yes."),
        ({"content": "Rain?", "source": "user", "type": "TextMessage"}, "user", "Rain?"),
        (["Rain?"], "user", "Rain?"),
        (json.dumps(json.dumps(PARTS)), "user", "Rain?"),
        ([json.dumps(PARTS[0])], "user", "Rain?"),
        ({"choices": [{"message": {"role": "assistant", "content": None, "refusal": "No."}}]}, "assistant", "No."),
        ({"choices": [{"message": {"content": None, "audio": {"id": "a", "transcript": "Yes."}}}]}, "assistant", "Yes."),
        ([{"role": "assistant", "parts": [{"type": "x_own"}, {"type": "text", "content": "Yes."}]}], "assistant", "Yes."),
    ],
)  # fmt: skip
def test_what_was_said(value: Any, role: str, said: str) -> None:
    assert words_of(value if isinstance(value, str) else json.dumps(value), role) == said


def test_langchain_s_pictures_in_base64_are_shown() -> None:
    block = {"type": "image", "base64": "aGVsbG8=", "mime_type": "image/jpeg"}
    (message,) = chat_of([{"type": "human", "content": [block]}], "user") or []
    assert message["content"][0]["image_url"]["url"] == "data:image/jpeg;base64,aGVsbG8="


def test_an_ollama_message_s_pictures_are_shown() -> None:
    asked = {"model": "llava", "messages": [{"role": "user", "content": "What?", "images": ["aGVsbG8="]}]}
    span = shown({"openinference.span.kind": "LLM", "input.value": json.dumps(asked)})
    assert span.inputs["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,aGVsbG8="


@pytest.mark.parametrize(
    "empty", [{"parts": []}, {"parts": [{"type": "text", "content": None}]}, {"content": None}, {"content": ""}]
)
def test_messages_that_say_nothing_are_drawn_and_give_no_preview(empty: dict[str, Any]) -> None:
    sent, answered = [{"role": "user"} | empty], [{"role": "assistant"} | empty]
    attrs = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o",
             "gen_ai.input.messages": json.dumps(sent), "gen_ai.output.messages": json.dumps(answered)}  # fmt: skip
    span, trace = shown(attrs), trace_of(otlp.span("work", attrs=attrs))
    assert is_drawn(span.inputs, None)
    assert is_drawn(span.outputs, None)
    assert (trace.request_preview, trace.response_preview) == ("chat gpt-4o", "OK")


def test_beside_others_a_message_without_words_stays_away() -> None:
    assert chat_of([{"role": "user", "parts": []}, *PARTS], "user") == [USER]


def test_an_answer_in_a_field_is_drawn_and_the_rest_kept() -> None:
    attrs = {"openinference.span.kind": "AGENT", "input.value": json.dumps([USER]),
             "output.value": json.dumps({"text": "Yes.", "usage": {"total": 3}, "files": []})}  # fmt: skip
    assert shown(attrs).outputs == {"messages": [AI], "usage": {"total": 3}}


def test_an_object_that_is_no_answer_stays_json() -> None:
    attrs = {
        "openinference.span.kind": "AGENT",
        "input.value": json.dumps([USER]),
        "output.value": json.dumps({"city": "Rome"}),
    }
    assert shown(attrs).outputs == [{"role": "assistant", "content": '{"city": "Rome"}'}]


@pytest.mark.parametrize(
    "value",
    [
        [{"type": "phone_call", "id": "5", "duration": 3}, {"type": "video_call", "id": "6"}],
        [{"type": "user", "id": 5, "name": "Bob"}, {"type": "admin", "id": 6, "name": "Al"}],
        [["tool", "hammer"], ["bolt", "nut"]],
        {"order": {"message": {"text": "x"}}},
        [{"delta": {"a": 1}}, {"delta": 2}],
        [{"supervisor": {"next": "writer"}}],
    ],
)
def test_records_of_somebody_else_s_are_no_chat(value: Any) -> None:
    assert not chat_of(value, "assistant")
    assert words_of(json.dumps(value), "assistant") in ("", "x")


def test_what_a_tool_is_given_and_gives_stays_as_it_is() -> None:
    given, gave = {"model": "T", "input": "x"}, {"model": "T", "stop_reason": "red", "text": "halt"}
    attrs = {"openinference.span.kind": "TOOL", "input.value": json.dumps(given), "output.value": json.dumps(gave)}
    assert (shown(attrs).inputs, shown(attrs).outputs) == (given, gave)
