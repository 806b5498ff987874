"""What the rules of the shipped dialects make of single spans: tokens, costs, types, sessions and users."""

import json
from typing import Any

import pytest
from frameworks import shown, trace_of

import otlp
from headrace.envelope import Delivery, envelope_pb2
from headrace.mlflow.fold.arrival_order import ArrivalOrder
from headrace.mlflow.text import UNCOUNTED
from headrace.mlflow.translate.chat.preview import words_of
from headrace.mlflow.translate.dialects import known
from headrace.mlflow.translate.dialects.table import SPAN_NAME
from headrace.mlflow.translate.parts import to_parts

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
TRACE, ROOT = b"t" * 16, b"\1" * 8


@pytest.mark.parametrize(
    ("figures", "usage"),
    [
        ({"input_tokens": 4096}, {"input_tokens": 4096, "total_tokens": 4096}),
        ({"output_tokens": 7}, {"output_tokens": 7, "total_tokens": 7}),
        ({"total_tokens": 9}, {"total_tokens": 9}),
        (
            {"input_tokens": 3, "output_tokens": 1, "total_tokens": 5},
            {"input_tokens": 3, "output_tokens": 1, "total_tokens": 5},
        ),
        ({"input_tokens": 12.0, "output_tokens": 5.0}, {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}),
        ({"input_tokens": "12", "output_tokens": "5.0"}, {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}),
        ({"prompt_tokens": 2, "output_tokens": 5}, {"input_tokens": 2, "output_tokens": 5, "total_tokens": 7}),
        ({"input_tokens": -1, "output_tokens": 5}, {"output_tokens": 5, "total_tokens": 5}),
        ({"input_tokens": -7}, None),
        ({"input_tokens": float("nan")}, None),
        ({"input_tokens": True}, None),
        ({"reasoning_tokens": 4}, {"reasoning_tokens": 4, "total_tokens": 4}),
        ({"cache_read.input_tokens": 5}, {"cache_read_input_tokens": 5, "total_tokens": 5}),
    ],
    ids=str,
)
def test_tokens_in_whatever_way_they_come(figures: dict[str, Any], usage: dict[str, int] | None) -> None:
    span = shown(CHAT | {f"gen_ai.usage.{key}": figure for key, figure in figures.items()})
    assert span.usage == usage
    assert all(type(figure) is int for figure in (span.usage or {}).values())


def test_a_trace_s_total_is_what_is_known() -> None:
    span = otlp.span("embeddings", attrs={"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 4096})
    assert trace_of(span).tokens[:3] == [4096, 0, 4096]


@pytest.mark.parametrize(
    ("attrs", "cost"),
    [
        ({"operation.cost": 0.5}, {"total_cost": 0.5}),
        ({"gen_ai.cost.input_cost": 0.25, "gen_ai.cost.output_cost": 0.5},
         {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75}),
        ({"gen_ai.usage.cost": "0.5"}, {"total_cost": 0.5}),
        ({"langfuse.observation.cost_details": '{"input": 1.0, "output": 2.0, "total": 3.0}'},
         {"input_cost": 1.0, "output_cost": 2.0, "total_cost": 3.0}),
        ({"llm.cost.total": 2}, {"total_cost": 2.0}),
    ],
    ids=str,
)  # fmt: skip
def test_a_stated_cost_comes_before_the_computed_one(attrs: dict[str, Any], cost: dict[str, float]) -> None:
    tokens = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10}
    assert shown(CHAT | tokens | attrs).cost == cost


@pytest.mark.parametrize("zero", [0, 0.0, "0", float("inf"), -1.0, "free"])
def test_a_cost_of_nothing_is_none(zero: Any) -> None:
    tokens = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 10}
    computed = shown(CHAT | tokens).cost
    assert computed["total_cost"] > 0
    assert shown(CHAT | tokens | {"gen_ai.cost.total_cost": zero, "operation.cost": zero}).cost == computed


def test_what_mlflow_s_own_client_sends_stays() -> None:
    sent = {
        "mlflow.spanType": "CHAIN",
        "mlflow.spanInputs": {"q": 1},
        "mlflow.chat.tokenUsage": {"input_tokens": 1},
        "mlflow.llm.cost": {"total_cost": 1.0},
        "mlflow.llm.model": "mine",
    }
    others = CHAT | {
        "langsmith.span.kind": "tool",
        "gen_ai.prompt": "{}",
        "gen_ai.usage.output_tokens": 5,
        "operation.cost": 9.0,
    }
    shown_attributes = shown(sent | others).attributes
    assert {key: shown_attributes[key] for key in sent} == sent


@pytest.mark.parametrize(
    ("operation", "type_"),
    [
        ("invoke_workflow", "CHAIN"), ("chain", "CHAIN"), ("execute_event_loop_cycle", "CHAIN"), ("retrieval", "RETRIEVER"),
        ("rerank", "RERANKER"), ("embeddings", "EMBEDDING"), ("embedding", "EMBEDDING"), ("evaluate", "EVALUATOR"),
        ("apply_guardrail", "GUARDRAIL"), ("create_memory", "MEMORY"), ("invoke_agent", "AGENT"), ("execute_tool", "TOOL"),
        ("chat", "CHAT_MODEL"), ("text_completion", "LLM"),
    ],
)  # fmt: skip
def test_types_of_operations(operation: str, type_: str) -> None:
    assert shown({"gen_ai.operation.name": operation}).type == type_


@pytest.mark.parametrize(
    ("attrs", "type_"),
    [
        ({"langfuse.observation.type": "span"}, "CHAIN"),
        ({"langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat"}, "CHAIN"),
        ({"openinference.span.kind": "PROMPT"}, "CHAIN"),
        ({"openinference.span.kind": "GUARDRAIL"}, "GUARDRAIL"),
        ({"ai.operationId": "ai.embedMany.doEmbed"}, "EMBEDDING"),
        ({"ai.operationId": "ai.rerank"}, "RERANKER"),
        ({"haystack.component.type": "InMemoryBM25Retriever"}, "RETRIEVER"),
        ({"haystack.component.type": "TransformersSimilarityRanker"}, "RERANKER"),
        ({"haystack.component.type": "OpenAITextEmbedder"}, "EMBEDDING"),
        ({"haystack.component.type": "OpenAIGenerator"}, "LLM"),
        ({"genkit:type": "action", "genkit:metadata:subtype": "flow"}, "CHAIN"),
        ({"genkit:type": "action", "genkit:metadata:subtype": "model"}, "CHAT_MODEL"),
        ({"mastra.span.type": "workflow_run"}, "CHAIN"),
        ({"mastra.span.type": "agent_run"}, "AGENT"),
        ({"llm.request.type": "rerank"}, "RERANKER"),
        ({"spring.ai.kind": "vector_store"}, "RETRIEVER"),
        ({"mcp.method.name": "tools/call"}, "TOOL"),
        ({"gcp.vertex.agent.llm_request": '{"model": "gemini-2.0"}'}, "LLM"),
        ({"mlflow.spanType": "UNKNOWN", "gen_ai.operation.name": "invoke_workflow"}, "CHAIN"),
        ({"gen_ai.operation.name": "invoke_workflow", "gen_ai.request.model": "gpt-4o"}, "CHAIN"),
        ({"openinference.span.kind": "LLM", "gen_ai.request.model": "gpt-4o", "llm.request.type": "chat"}, "LLM"),
    ],
    ids=str,
)
def test_types_of_frameworks(attrs: dict[str, Any], type_: str) -> None:
    assert shown(attrs).type == type_


@pytest.mark.parametrize(
    ("attrs", "session", "user"),
    [
        ({"session.id": "s", "user.id": "u", "langfuse.session.id": "other"}, "s", "u"),
        ({"gen_ai.conversation.id": "c", "langfuse.session.id": "other"}, "c", None),
        ({"session.id": 12, "user.id": 4711}, "12", "4711"),
        ({"langfuse.session.id": "s", "langfuse.user.id": "u"}, "s", "u"),
        ({"enduser.id": "u"}, None, "u"),
        ({"ai.telemetry.metadata.sessionId": "s", "ai.telemetry.metadata.userId": "u"}, "s", "u"),
        ({"traceloop.association.properties.session_id": "s", "traceloop.association.properties.user_id": 7}, "s", "7"),
        ({"langsmith.metadata.thread_id": "s", "langsmith.metadata.user_id": "u"}, "s", "u"),
        ({"metadata": '{"session_id": "s", "user_id": "u"}', "openinference.span.kind": "CHAIN"}, "s", "u"),
        ({"gcp.vertex.agent.session_id": "s"}, "s", None),
        ({"langfuse.session.id": ["no", "text"], "enduser.id": ""}, None, None),
    ],
    ids=str,
)
def test_sessions_and_users(attrs: dict[str, Any], session: str | None, user: str | None) -> None:
    trace = trace_of(otlp.span("root", attrs=attrs))
    assert (trace.session_id, trace.user_id) == (session, user)


def test_a_resource_s_session_is_its_spans_and_a_span_s_own_wins() -> None:
    alone = trace_of(otlp.span("root"), session_id="of the process", user_id="u")
    assert (alone.session_id, alone.user_id) == ("of the process", "u")
    assert trace_of(otlp.span("root"), enduser_id="e").user_id == "e"
    for key in ("session.id", "gen_ai.conversation.id", "langfuse.session.id"):
        assert trace_of(otlp.span("root", attrs={key: "own"}), session_id="of the process").session_id == "own"


def test_a_child_s_session_counts_where_the_root_has_none() -> None:
    root, child = otlp.span("root", TRACE, ROOT), otlp.span("c", TRACE, parent=ROOT, attrs={"langfuse.session.id": "child's"})
    assert trace_of(root, child).session_id == "child's"
    root = otlp.span("root", TRACE, ROOT, attrs={"enduser.id": "u", "langfuse.session.id": "root's"})
    assert trace_of(root, child).session_id == "root's"


def test_traceloop_s_numbered_messages() -> None:
    span = shown(
        {
            "llm.request.type": "chat",
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Be brief.",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "The capital of France?",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": "Paris.",
            "gen_ai.completion.0.finish_reason": "stop",
            "gen_ai.usage.prompt_tokens": 11,
            "gen_ai.usage.completion_tokens": 2,
            "llm.usage.total_tokens": 13,
            "llm.request.functions.0.name": "look_up",
            "llm.request.functions.0.parameters": '{"type": "object"}',
        }
    )
    assert span.type == "CHAT_MODEL"
    assert span.inputs["messages"][1] == {"role": "user", "content": "The capital of France?"}
    assert span.outputs["choices"][0]["message"]["content"] == "Paris."
    assert span.attributes["mlflow.chat.tools"] == [
        {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    ]
    assert span.cost["total_cost"] > 0


def test_openinference_s_flattened_messages_alone() -> None:
    span = shown(
        {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": "The capital?",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": "Paris",
            "llm.tools.0.tool.json_schema": '{"name": "f"}',
        }
    )
    assert span.inputs == {"messages": [{"role": "user", "content": "The capital?"}]}
    assert span.outputs == {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}}]}
    assert span.attributes["mlflow.chat.tools"] == [{"type": "function", "function": {"name": "f"}}]


def test_openinference_s_reasoning_is_no_answer() -> None:
    """Anthropic's thinking is a part of its message. In OpenAI's responses it is a message of its own, and so is each call."""
    said, answer = "llm.output_messages", {"openinference.span.kind": "LLM"}
    thought = {"message_content.type": "reasoning", "message_content.text": "Hm."}
    text = {"message_content.type": "text", "message_content.text": "Paris."}
    parts = [{f"{said}.0.message.contents.{number}.{key}": value for key, value in part.items()}
             for number, part in enumerate((thought, text))]  # fmt: skip
    (choice,) = shown(answer | parts[0] | parts[1]).outputs["choices"]
    assert choice["message"]["reasoning"] == "Hm."
    assert words_of({"choices": [choice]}, "assistant") == "Paris."
    calls = {f"{said}.{number}.message.tool_calls.0.tool_call.{key}": value
             for number in (1, 2) for key, value in (("id", f"c{number}"), ("function.name", "look_up"))}  # fmt: skip
    (choice,) = shown(answer | parts[0] | calls).outputs["choices"]
    assert (choice["message"]["reasoning"], choice["message"]["content"]) == ("Hm.", None)
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c1", "c2"]


def test_pydantic_ai_s_first_version() -> None:
    asked = {"event.name": "gen_ai.user.message", "content": "Where is my order?", "role": "user"}
    chosen = {"event.name": "gen_ai.choice", "index": 0, "message": {"role": "assistant", "content": "On its way."}}
    agent = shown({"all_messages_events": json.dumps([asked, asked | {"role": "assistant"}]), "final_result": "On its way.",
                   "agent_name": "support", "model_name": "gpt-4o-mini"}, name="agent run")  # fmt: skip
    assert (agent.type, agent.outputs, agent.model) == ("AGENT", "On its way.", "gpt-4o-mini")
    assert agent.inputs == {"messages": [{"role": "user", "content": "Where is my order?"}]}
    chat = shown(CHAT | {"events": json.dumps([asked, chosen])})
    assert chat.inputs["messages"][0]["content"] == "Where is my order?"
    assert chat.outputs["choices"][0]["message"] == {"role": "assistant", "content": "On its way."}


def test_of_genkit_only_the_calls_of_models_count_their_tokens() -> None:
    took = {"genkit:output": '{"usage": {"inputTokens": 10, "outputTokens": 2}}'}
    assert shown({"genkit:type": "util"} | took).usage is None
    call = shown({"genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "openai/gpt-4o"} | took)
    assert call.usage == {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


@pytest.mark.parametrize("meta", ["meta", "_meta"])
def test_haystack_of_both_spellings(meta: str) -> None:
    reply = {"_role": "assistant", "_content": [{"text": "Hello."}],
             meta: {"model": "gpt-4o", "usage": {"prompt_tokens": 4, "completion_tokens": 3}}}  # fmt: skip
    span = shown(
        {"haystack.component.type": "OpenAIChatGenerator", "haystack.component.output": json.dumps({"replies": [reply]})}
    )
    assert (span.model, span.usage) == ("gpt-4o", {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7})
    assert span.cost["total_cost"] > 0


def test_langchain_names_the_provider_in_its_metadata() -> None:
    said = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "metadata": '{"ls_provider": "openai"}'}
    assert shown(said).provider == "openai"
    assert shown(said | {"llm.system": "azure"}).provider == "azure"


def test_a_plain_span_asks_for_no_rule() -> None:
    for attrs in ({"http.request.method": "GET", "url.path": "/"}, {}, {"db.system": "postgresql", "messaging.operation": "x"}):
        assert known().wanted(tuple(attrs), "io.opentelemetry.http") == ()


def test_without_enrichment_there_are_no_rules() -> None:
    request = otlp.request(otlp.span("root", TRACE, attrs={"langfuse.session.id": "s", "haystack.component.type": "X"}))
    delivery = Delivery(request, (envelope_pb2.Destination(experiment_id="1"),), "", 0, "")
    (part,) = to_parts(delivery, UNCOUNTED, ArrivalOrder())
    (row,) = part.spans.values()
    assert "mlflow.spanType" not in row.content
    assert "session.id" not in row.content.replace("langfuse.session.id", "")


@pytest.mark.parametrize(
    "value",
    [{"a": [1, {"b": None}]}, [[], {}], "[" * 4000, "{" * 20_000, -1, 2**63 - 1, 1e300, "\0", b"\xff", True, ""],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_odd_values_cost_nothing_but_themselves(value: Any) -> None:
    rules = [rule for dialect in known().tables for rule in dialect.rules if rule.key != SPAN_NAME]
    keys = {rule.key for rule in rules}
    keys |= {f"{key}0.message.content" for key in keys if key.endswith(".")}
    span = shown(dict.fromkeys(sorted(keys), value))
    assert span.name == "work"
