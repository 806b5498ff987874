"""What the shipped dialects make of real exports: each value that the export has data for is shown."""

import random
from typing import Any

import pytest
from frameworks import NAMES, Shown, export, folded, parts, spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

QUESTION, ANSWER = "What is the weather in Paris?", "The weather in Paris is sunny, 21 degrees."
CALL = {"name": "get_weather", "arguments": '{"city": "Paris"}'}


def of(name: str, type_: str) -> list[Shown]:
    return [span for span in spans(export(name)) if span.type == type_]


def tool_names(span: Shown) -> list[str]:
    return [tool["function"]["name"] for tool in span.attributes["mlflow.chat.tools"]]


@pytest.mark.parametrize("name", ["openinference_langchain", "openinference_langchain_js", "openinference_smolagents"])
def test_flattened_messages_take_the_place_of_a_constructor_s_text(name: str) -> None:
    first, second = of(name, "LLM")
    assert QUESTION in str(first.inputs["messages"][-1]["content"])
    (call,) = first.outputs["choices"][0]["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"] == CALL
    assert second.outputs["choices"][0]["message"]["role"] == "assistant"
    assert "get_weather" in tool_names(first)


def test_a_system_message_that_is_not_flattened_is_kept() -> None:
    first, second = of("openinference_langchain_js", "LLM")
    assert [message["role"] for message in first.inputs["messages"]] == ["system", "user"]
    assert [message["role"] for message in second.inputs["messages"]] == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize("name", ["openinference_langchain", "openinference_openai", "openinference_openai_agents"])
def test_the_provider_is_llm_system_s(name: str) -> None:
    assert {span.provider for span in of(name, "LLM")} == {"openai"}


def test_a_chat_that_the_ui_draws_stays_as_it_is() -> None:
    first, _ = of("openinference_openai", "LLM")
    assert first.inputs["model"] == "gpt-4o-mini"  # the whole request, not the flattened messages alone
    assert first.outputs["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("name", ["pydantic_ai_agent", "pydantic_ai_v2_tool"])
def test_pydantic_ai(name: str) -> None:
    (agent,) = of(name, "AGENT")
    assert agent.inputs[1]["content"] == QUESTION
    roles = [message["role"] for message in agent.inputs]
    assert roles == ["system", "user", "assistant", "tool"]  # the answer is none of the inputs
    assert agent.outputs == ANSWER
    assert agent.model == "gpt-4o-mini"
    assert agent.usage["input_tokens"] == 84
    (tool,) = of(name, "TOOL")
    assert (tool.inputs, tool.outputs) == ({"city": "Paris"}, "sunny, 21")
    for chat in of(name, "CHAT_MODEL"):
        assert chat.cost["total_cost"] == 1.575e-05  # what it says, not what was computed
        assert chat.usage["reasoning_tokens"] == 3
        assert tool_names(chat) == ["get_weather"]


def test_langsmith() -> None:
    shown = spans(export("langsmith_otel"))
    assert {span.name: span.type for span in shown} == {
        "model": "CHAIN", "ChatOpenAI": "CHAT_MODEL", "tools": "CHAIN", "get_weather": "TOOL", "LangGraph": "CHAIN",
    }  # fmt: skip
    assert all(span.inputs and span.outputs for span in shown)
    trace = folded(parts(export("langsmith_otel")))
    assert (trace.session_id, trace.user_id) == ("sess-1", "user-7")
    chat = of("langsmith_otel", "CHAT_MODEL")[0]
    assert (chat.usage["cache_read_input_tokens"], chat.usage["reasoning_tokens"]) == (10, 3)


def test_vercel_ai() -> None:
    root = spans(export("vercel_ai_generateText"))[-1]
    assert (root.model, root.provider, root.usage["cache_read_input_tokens"]) == ("gpt-4o-mini", "openai", 20)
    first = of("vercel_ai_generateText", "LLM")[0]
    assert (first.provider, tool_names(first)) == ("openai", ["get_weather"])
    trace = folded(parts(export("vercel_ai_generateText")))
    assert (trace.trace_name, trace.session_id, trace.user_id) == ("weather-agent", "sess-1", "user-7")
    inner, outer = of("vercel_ai_embed", "EMBEDDING")
    assert (inner.inputs, outer.inputs) == (["Paris"], "Paris")
    assert inner.outputs[0][0] == 0.1
    assert (inner.model, inner.provider, inner.usage) == (
        "text-embedding-3-small", "openai", {"input_tokens": 5, "total_tokens": 5},
    )  # fmt: skip
    made, _ = of("vercel_ai_generateObject", "LLM")
    assert QUESTION in str(made.inputs)


def test_langfuse() -> None:
    for call in of("langfuse_sdk", "LLM"):
        assert call.model == "gpt-4o-mini-2024-07-18"
        assert call.usage == {
            "input_tokens": 42, "output_tokens": 17, "total_tokens": 59, "cache_read_input_tokens": 10, "reasoning_tokens": 3,
        }  # fmt: skip
        assert call.cost["total_cost"] > 0
    trace = folded(parts(export("langfuse_sdk")))
    assert trace.tags["tags"] == "a"
    assert of("langfuse_sdk", "CHAIN")[0].name == "weather_agent"


def test_haystack() -> None:
    builder, call, pipeline = spans(export("haystack_native"))
    assert (builder.type, call.type, pipeline.type) == ("CHAIN", "CHAT_MODEL", "CHAIN")
    assert (call.model, call.provider, call.usage["total_tokens"]) == ("gpt-4o-mini-2024-07-18", "openai", 59)
    assert call.inputs["messages"][0]["content"] == QUESTION
    assert call.cost["total_cost"] > 0
    assert pipeline.inputs == {"prompt": {"city": "Paris"}}
    assert ANSWER in str(pipeline.outputs)


def test_the_arguments_of_a_call_are_read() -> None:
    assert of("langfuse_sdk", "CHAIN")[0].inputs == QUESTION
    assert of("langfuse_sdk", "TOOL")[0].inputs == "Paris"
    assert of("openinference_smolagents", "TOOL")[0].inputs == {"city": "Paris"}
    assert folded(parts(export("openinference_smolagents"))).request_preview == QUESTION


def test_strands() -> None:
    assert {span.type for span in spans(export("strands_events"))} == {"AGENT", "CHAIN", "CHAT_MODEL", "TOOL"}
    (agent,) = of("strands_events", "AGENT")
    assert tool_names(agent) == ["get_weather"]
    assert agent.usage["cache_read_input_tokens"] == 20


def test_claude_code() -> None:
    assert [span.type for span in spans(export("claude_code_reconstructed"))] == [
        "LLM", "TASK", "TOOL", "TOOL", "LLM", "AGENT",
    ]  # fmt: skip


def test_litellm() -> None:
    request, raw = spans(export("litellm_tool_call"))
    assert request.cost["total_cost"] == 1.5749999999999997e-05
    assert request.attributes["user.id"] == "user-7"
    assert request.usage["reasoning_tokens"] == 3
    assert raw.inputs["messages"][1] == {"role": "user", "content": QUESTION}
    assert raw.outputs["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize("name", NAMES)
def test_no_call_of_a_model_lacks_its_figures(name: str) -> None:
    for span in spans(export(name)):
        assert span.type != "UNKNOWN"
        if span.type in ("LLM", "CHAT_MODEL", "EMBEDDING") and span.name != "raw_gen_ai_request":
            assert span.model, span.name
            assert span.usage["total_tokens"] > 0, span.name
            assert span.cost["total_cost"] > 0, span.name


@pytest.mark.parametrize("name", NAMES)
def test_the_order_does_not_matter(name: str) -> None:
    shuffled = random.Random(name)
    outcomes = [_outcome(_in_pieces(export(name), shuffled)) for _ in range(3)]
    assert outcomes == [_outcome([export(name)])] * 3


def _in_pieces(request: ExportTraceServiceRequest, shuffled: random.Random) -> list[ExportTraceServiceRequest]:
    """Each span in a request of its own, in any order."""
    pieces = []
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                piece = ExportTraceServiceRequest()
                alone = piece.resource_spans.add(resource=resource_spans.resource, schema_url=resource_spans.schema_url)
                alone.scope_spans.add(scope=scope_spans.scope, spans=[span], schema_url=scope_spans.schema_url)
                pieces.append(piece)
    shuffled.shuffle(pieces)
    return pieces


def _outcome(requests: list[ExportTraceServiceRequest]) -> Any:
    by_trace: dict[str, list[Any]] = {}
    for request in requests:
        for part in parts(request):
            by_trace.setdefault(part.trace_id, []).append(part)
    traces = [folded(made) for _, made in sorted(by_trace.items())]
    return [
        (trace.trace_name, trace.request_preview, trace.response_preview, trace.session_id, trace.user_id, trace.tags,
         trace.tokens, trace.costs, sorted(trace.spans.items()))
        for trace in traces
    ]  # fmt: skip


def test_a_call_that_two_instrumentations_describe_counts_once() -> None:
    trace = folded(parts(export("anthropic_sdk_native_double")))
    assert trace.tokens[:5] == [92, 34, 126, 20, 8]
    assert trace.costs[2] == pytest.approx(0.000369 * 2)
