"""Keys that frameworks have begun to write, or still write, beside those of the kept exports.

Sources: the exporters of Mastra (observability/otel-exporter), Vercel AI (packages/otel), LangSmith, Langfuse's LangChain
callbacks, OpenInference's semantic conventions, Traceloop, Azure's agents, Strands.
"""

import json
from typing import Any

import pytest
from frameworks import shown, spans, trace_of
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import otlp

TRACE, ROOT = b"t" * 16, b"\1" * 8
FAILED, NO_KEY = Status(code=Status.STATUS_CODE_ERROR), Status(code=Status.STATUS_CODE_ERROR, message="No key.")
ASKED, ANSWERED = [{"role": "user", "content": "Rain?"}], [{"role": "assistant", "content": "Yes."}]


def dumped(value: Any) -> str:
    return json.dumps(value)


def event(name: str, attrs: dict[str, Any]) -> Span.Event:
    return Span.Event(name=name, attributes=otlp.attributes(attrs))


@pytest.mark.parametrize(
    ("kind", "span_type"),
    [
        ("agent_run", "AGENT"), ("model_step", "CHAIN"), ("model_chunk", "CHAIN"), ("workflow_conditional", "CHAIN"),
        ("workflow_wait_event", "CHAIN"), ("provider_tool_call", "TOOL"), ("rag_embedding", "EMBEDDING"),
        ("rag_vector_operation", "RETRIEVER"), ("memory_operation", "MEMORY"), ("processor_run", "GUARDRAIL"),
    ],
)  # fmt: skip
def test_each_kind_of_mastra_s_spans(kind: str, span_type: str) -> None:
    attrs = {"gen_ai.operation.name": kind, "mastra.span.type": kind, f"mastra.{kind}.input": dumped({"a": 1}),
             f"mastra.{kind}.output": dumped({"b": 2})}  # fmt: skip
    span = shown(attrs)
    assert (span.type, span.inputs, span.outputs) == (span_type, {"a": 1}, {"b": 2})


def test_an_agent_of_mastra() -> None:
    attrs = {"gen_ai.operation.name": "invoke_agent", "mastra.span.type": "agent_run", "mastra.agent_run.input": dumped(ASKED),
             "mastra.agent_run.output": dumped({"text": "Yes.", "files": []}), "gen_ai.system_instructions": "Be brief.",
             "gen_ai.tool.definitions": dumped(["get_weather"]), "mastra.metadata.threadId": "t",
             "mastra.metadata.userId": "u"}  # fmt: skip
    span, trace = shown(attrs), trace_of(otlp.span("invoke_agent", attrs=attrs))
    assert (trace.request_preview, trace.response_preview) == ("Rain?", "Yes.")
    assert span.inputs == [{"role": "system", "content": "Be brief."}, *ASKED]
    assert span.outputs == ANSWERED
    assert span.attributes["mlflow.chat.tools"][0]["function"]["name"] == "get_weather"
    assert (trace.session_id, trace.user_id) == ("t", "u")


def test_a_model_of_mastra_s_first_releases() -> None:
    attrs = {"gen_ai.operation.name": "chat", "mastra.span.type": "llm_generation", "input": dumped(ASKED),
             "output": dumped({"text": "Yes."}), "gen_ai.system": "openai.chat", "gen_ai.request.model": "gpt-4o-mini",
             "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cached_input_tokens": 4,
             "threadId": "t", "resourceId": "u"}  # fmt: skip
    span, trace = shown(attrs), trace_of(otlp.span("chat", attrs=attrs))
    assert (span.type, span.provider, span.usage["cache_read_input_tokens"]) == ("CHAT_MODEL", "openai", 4)
    assert (trace.request_preview, trace.response_preview, trace.session_id, trace.user_id) == ("Rain?", "Yes.", "t", "u")


def test_vercel_s_step_is_a_chain_and_its_context_names_who_asks() -> None:
    context = {"ai.settings.context.userId": "u", "ai.settings.context.sessionId": "s"}
    trace = trace_of(otlp.span("invoke_agent", attrs={"gen_ai.operation.name": "invoke_agent"} | context))
    assert (trace.session_id, trace.user_id) == ("s", "u")
    assert shown({"gen_ai.operation.name": "agent_step"}).type == "CHAIN"


def test_vercel_s_reranker() -> None:
    attrs = {"ai.operationId": "ai.rerank.doRerank", "ai.documents": [dumped("a"), dumped("b")],
             "ai.ranking": [dumped({"index": 1, "relevanceScore": 0.9})]}  # fmt: skip
    span = shown(attrs)
    assert (span.type, span.inputs, span.outputs) == ("RERANKER", ["a", "b"], [{"index": 1, "relevanceScore": 0.9}])


@pytest.mark.parametrize("arguments", [{"input": {"city": "Paris"}}, {"args": '{"city": "Paris"}'}])
def test_what_vercel_s_model_calls_is_drawn(arguments: dict[str, Any]) -> None:
    calls = [{"toolCallId": "c", "toolName": "get_weather"} | arguments]
    attrs = {
        "ai.operationId": "ai.generateText",
        "ai.prompt": dumped({"messages": ASKED}),
        "ai.response.toolCalls": dumped(calls),
    }
    (message,) = shown(attrs).outputs
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    trace = trace_of(otlp.span("ai.generateText", attrs=attrs))
    assert trace.response_preview == 'get_weather({"city": "Paris"})'


def test_langsmith_s_details_of_tokens() -> None:
    attrs = {"langsmith.span.kind": "llm", "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 5,
             "gen_ai.usage.input_token_details": dumped({"cache_read": 4, "cache_creation": 2}),
             "gen_ai.usage.output_token_details": dumped({"reasoning": 3})}  # fmt: skip
    usage = shown(attrs).usage
    assert (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"], usage["reasoning_tokens"]) == (4, 2, 3)


def test_langfuse_s_details_of_langchain_s_tokens() -> None:
    details = {"input": 5, "output": 2, "total": 14, "input_cache_read": 4, "output_reasoning": 3}
    usage = shown({"langfuse.observation.type": "generation", "langfuse.observation.usage_details": dumped(details)}).usage
    assert (usage["cache_read_input_tokens"], usage["reasoning_tokens"], usage["total_tokens"]) == (4, 3, 14)


def test_openinference_s_older_calls_and_its_sounds() -> None:
    attrs = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "audio",
        "llm.input_messages.0.message.contents.0.message_content.audio.audio.url": "https://x.test/q.wav",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.function_call_name": "get_weather",
        "llm.output_messages.0.message.function_call_arguments_json": '{"city": "Paris"}',
    }
    span, trace = shown(attrs), trace_of(otlp.span("chat", attrs=attrs))
    assert span.inputs["messages"][0]["content"] == [{"type": "text", "text": "[audio: https://x.test/q.wav]"}]
    assert trace.response_preview == 'get_weather({"city": "Paris"})'


def test_traceloop_s_arguments_and_reasoning() -> None:
    tool = shown({"traceloop.span.kind": "tool", "traceloop.entity.input": dumped({"args": [], "kwargs": {"city": "Paris"}})})
    assert tool.inputs == {"city": "Paris"}
    chat = shown({"llm.request.type": "chat", "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Yes.",
                  "gen_ai.completion.0.reasoning": "Hm."})  # fmt: skip
    assert chat.outputs["choices"][0]["message"]["reasoning"] == "Hm."


def test_the_answer_of_azure_s_agent_is_its_output() -> None:
    attrs = {"gen_ai.operation.name": "process_thread_run", "gen_ai.system": "az.ai.agents"}
    said = {"user": "Rain?", "assistant": {"text": {"value": "Yes."}}}
    events = [event(f"gen_ai.{role}.message", {"gen_ai.event.content": dumped({"role": role, "content": content})})
              for role, content in said.items()]  # fmt: skip
    trace = trace_of(otlp.span("process_thread_run", attrs=attrs, events=events))
    assert (trace.request_preview, trace.response_preview) == ("Rain?", "Yes.")
    (row,) = trace.spans.values()
    assert row.type == "AGENT"


def test_strands_instructions_come_first() -> None:
    attrs = {"gen_ai.system": "strands-agents", "gen_ai.operation.name": "invoke_agent", "system_prompt": "Be brief."}
    message = event("gen_ai.user.message", {"content": "Rain?"})
    (span,) = spans(otlp.request(otlp.span("invoke_agent", attrs=attrs, events=[message])))
    assert span.inputs == [{"role": "system", "content": "Be brief."}, *ASKED]


def test_a_request_that_only_names_a_status_fails_for_its_agent_s_reason() -> None:
    http = {"http.request.method": "POST", "http.route": "/chat", "http.response.status_code": 500}
    root = otlp.span("POST /chat", TRACE, ROOT, attrs=http, status=FAILED)
    agent = otlp.span("agent", TRACE, b"\2" * 8, ROOT, attrs={"gen_ai.operation.name": "invoke_agent"}, status=NO_KEY)
    assert trace_of(root, agent).response_preview == "ERROR: No key."
    assert trace_of(root).response_preview == "ERROR: 500"


def test_mastra_s_inference_is_the_call() -> None:
    attrs = {"gen_ai.operation.name": "chat", "mastra.span.type": "model_inference", "gen_ai.request.model": "gpt-4o-mini",
             "gen_ai.provider.name": "openai.chat", "gen_ai.usage.input_tokens": 9}  # fmt: skip
    inference, generation = shown(attrs), shown({"mastra.span.type": "model_generation"})
    assert (inference.type, inference.provider, generation.type) == ("CHAT_MODEL", "openai", "CHAIN")
    assert shown(attrs | {"gen_ai.provider.name": "aws.bedrock"}).provider == "aws.bedrock"


@pytest.mark.parametrize(
    "response",
    [
        {"message": {"role": "assistant", "content": "Yes."}, "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        {"message": {"role": "assistant", "content": "Yes."}, "usage": {"input_tokens": 9, "output_tokens": 2}},
        {"combined_chunk_content": "Yes.", "chunk_count": 2},
    ],
)
def test_logfire_s_requests_and_responses(response: dict[str, Any]) -> None:
    request = {"model": "gpt-4o-mini", "messages": ASKED, "tools": [{"type": "function", "function": {"name": "get_weather"}}]}
    attrs = {"logfire.msg": "Chat Completion", "request_data": dumped(request), "response_data": dumped(response)}
    span, trace = shown(attrs), trace_of(otlp.span("Chat Completion", attrs=attrs))
    assert (span.type, span.model, span.inputs["messages"]) == ("CHAT_MODEL", "gpt-4o-mini", ASKED)
    assert (trace.request_preview, trace.response_preview) == ("Rain?", "Yes.")
    assert span.attributes["mlflow.chat.tools"][0]["function"]["name"] == "get_weather"
    assert "usage" not in response or span.usage == {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}


def test_traceloop_s_thinking_is_no_message_of_the_user() -> None:
    attrs = {"llm.request.type": "completion", "gen_ai.completion.0.role": "thinking", "gen_ai.completion.0.content": "Hm.",
             "gen_ai.completion.1.role": "assistant", "gen_ai.completion.1.content": "Yes."}  # fmt: skip
    (choice,) = shown(attrs).outputs["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Yes.", "reasoning": "Hm."}


@pytest.mark.parametrize(
    ("attrs", "usage"),
    [
        ({"gen_ai.usage.input_tokens": 9, "gen_ai.usage.prompt_tokens_details": dumped({"cached_tokens": 4})},
         {"input_tokens": 9, "cache_read_input_tokens": 4, "total_tokens": 9}),
        ({"gen_ai.usage.output_tokens": 9, "gen_ai.usage.completion_tokens_details": {"reasoning_tokens": 4}},
         {"output_tokens": 9, "reasoning_tokens": 4, "total_tokens": 9}),
        ({"llm.usage.prompt_tokens": 9, "llm.usage.completion_tokens": 2, "llm.usage.total_tokens": 11},
         {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}),
    ],
)  # fmt: skip
def test_details_of_tokens_in_one_attribute(attrs: dict[str, Any], usage: dict[str, int]) -> None:
    assert shown(attrs).usage == usage


def test_a_total_of_an_embedding_is_what_was_sent() -> None:
    attrs = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.usage.total_tokens": 9,
    }
    span = shown(attrs)
    assert span.usage == {"input_tokens": 9, "total_tokens": 9}
    assert span.cost["total_cost"] > 0


def test_crews_and_agents_of_openlit() -> None:
    crew = shown({"traceloop.span.kind": "workflow", "crewai.crew.result": "Yes."}, name="crewai.workflow")
    assert crew.outputs == "Yes."
    agent = shown({"gen_ai.operation.name": "agent", "gen_ai.agent.human_input": "Rain?", "gen_ai.agent.actual_output": "Yes."})
    assert (agent.type, agent.inputs, agent.outputs) == ("AGENT", "Rain?", "Yes.")


def test_a_model_s_user_is_traceloop_s() -> None:
    assert trace_of(otlp.span(attrs={"llm.request.type": "chat", "llm.user": "ada"})).user_id == "ada"
