"""Scenarios of the twelve vocabularies that MLflow translates: what their instrumentations really send, then what they never
should."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otlp import attributes
from parity.scenario import EPOCH, Draft, Scenario

Attributes = dict[str, Any]

MESSAGES = [
    {"role": "system", "parts": [{"type": "text", "content": "You are a weather bot. Grüße 🌦"}]},
    {"role": "user", "parts": [{"type": "text", "content": "Weather in Kraków?"}]},
]
ANSWERS = [{"role": "assistant", "parts": [{"type": "text", "content": "Rain, 12 °C."}], "finish_reason": "stop"}]
OPENAI_CHAT = {
    "model": "gpt-4o",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi 👋"}],
}
OPENAI_ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}}], "model": "gpt-4o-2024-08-06"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]

# dialect → spans as (name, attributes), the root first, the rest its children
DIALECTS: dict[str, list[tuple[str, Attributes]]] = {
    "OpenInference": [
        (
            "RunnableSequence",
            {"openinference.span.kind": "CHAIN", "input.value": "Weather in Kraków?", "output.value": "Rain, 12 °C."}
            | {"session.id": "oi-session", "user.id": "oi-user", "metadata": json.dumps({"thread": 7})},
        ),
        (
            "ChatOpenAI",
            {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.provider": "openai", "llm.system": "openai"}
            | {"input.value": json.dumps(OPENAI_CHAT), "input.mime_type": "application/json"}
            | {"output.value": json.dumps(OPENAI_ANSWER), "output.mime_type": "application/json"}
            | {"llm.token_count.prompt": 120, "llm.token_count.completion": 30, "llm.token_count.total": 150}
            | {"llm.token_count.prompt_details.cache_read": 64, "llm.token_count.prompt_details.cache_write": 0}
            | {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Hi 👋"},
        ),
        ("retrieve", {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.score": 0.87}),
        ("embed", {"openinference.span.kind": "EMBEDDING", "embedding.model_name": "text-embedding-3-small"}),
        ("weather", {"openinference.span.kind": "TOOL", "tool.name": "weather", "input.value": '{"city": "Kraków"}'}),
        ("guard", {"openinference.span.kind": "GUARDRAIL", "output.value": "true"}),
        ("prompt", {"openinference.span.kind": "PROMPT"}),
    ],
    "GenAI": [
        (
            "invoke_agent Weather",
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "Weather",
                "gen_ai.conversation.id": "conv_5j66UpCpwteGg4",
            }
            | {"gen_ai.input.messages": json.dumps(MESSAGES), "gen_ai.output.messages": json.dumps(ANSWERS)},
        ),
        (
            "chat gpt-4o",
            {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}
            | {"gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.response.id": "chatcmpl-1"}
            | {
                "gen_ai.usage.input_tokens": 1234,
                "gen_ai.usage.output_tokens": 56,
                "gen_ai.usage.cache_read.input_tokens": 1000,
            }
            | {"gen_ai.usage.cache_write.input_tokens": 12, "gen_ai.response.finish_reasons": ["stop"]}
            | {"gen_ai.input.messages": json.dumps(MESSAGES, ensure_ascii=False), "gen_ai.output.messages": json.dumps(ANSWERS)}
            | {"gen_ai.tool.definitions": json.dumps(TOOLS), "gen_ai.request.temperature": 0.2},
        ),
        (
            "chat with structured values",
            {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5"}
            | {"gen_ai.usage.input_tokens": 900, "gen_ai.usage.output_tokens": 77, "gen_ai.tool.definitions": TOOLS}
            | {"gen_ai.usage.cache_creation.input_tokens": 300, "gen_ai.usage.cache_read.input_tokens": 500}
            | {"gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": ANSWERS},
        ),
        (
            "execute_tool get_weather",
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather"}
            | {"gen_ai.tool.call.arguments": '{"city": "Kraków"}', "gen_ai.tool.call.result": '{"celsius": 12}'},
        ),
        (
            "embeddings",
            {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small"}
            | {"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 8},
        ),
        ("text_completion", {"gen_ai.operation.name": "text_completion", "gen_ai.request.model": "gpt-3.5-turbo-instruct"}),
    ],
    "Traceloop": [
        ("joke.workflow", {"traceloop.span.kind": "workflow", "traceloop.entity.name": "joke", "traceloop.entity.input": "{}"}),
        (
            "task",
            {"traceloop.span.kind": "task", "traceloop.entity.input": '{"args": [1]}', "traceloop.entity.output": '"done"'},
        ),
        (
            "openai.chat",
            {
                "gen_ai.system": "OpenAI",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            }
            | {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Tell me a joke 🤡", "llm.request.type": "chat"}
            | {"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "Why did …"}
            | {"gen_ai.usage.prompt_tokens": 15, "gen_ai.usage.completion_tokens": 25, "llm.usage.total_tokens": 40},
        ),
        (
            "openai.chat with a tool call",
            {"gen_ai.system": "OpenAI", "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Rome"}'}
            | {"gen_ai.prompt.10.content": "ten", "gen_ai.prompt.2.content": "two", "gen_ai.completion.0.content": ""},
        ),
        ("tool", {"traceloop.span.kind": "tool", "traceloop.entity.output": "[]"}),
    ],
    "Vercel AI": [
        (
            "ai.generateText",
            {"ai.operationId": "ai.generateText", "ai.prompt": json.dumps({"prompt": "Hi"}), "ai.response.text": "Hello"}
            | {"ai.model.id": "gpt-4o", "ai.model.provider": "openai.chat", "ai.usage.promptTokens": 5},
        ),
        (
            "ai.generateText.doGenerate",
            {"ai.operationId": "ai.generateText.doGenerate", "ai.prompt.format": "messages"}
            | {"ai.prompt.messages": json.dumps([{"role": "user", "content": [{"type": "text", "text": "Hi 👋"}]}])}
            | {"ai.prompt.tools": [json.dumps(TOOLS[0]), json.dumps({"type": "function", "name": "b"})]}
            | {"ai.prompt.toolChoice": '{"type":"auto"}', "ai.response.finishReason": "stop", "ai.response.text": "Hello"}
            | {
                "ai.response.toolCalls": json.dumps([{"toolName": "b", "args": '{"n":1}'}]),
                "ai.response.timestamp": "2025-06-15",
            }
            | {"gen_ai.system": "openai.chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 5}
            | {"gen_ai.usage.output_tokens": 6},
        ),
        (
            "ai.streamText.doStream",
            {"ai.operationId": "ai.streamText.doStream", "ai.response.text": "He", "ai.response.msToFirstChunk": 12.5},
        ),
        ("ai.toolCall", {"ai.operationId": "ai.toolCall", "ai.toolCall.args": '{"n":1}', "ai.toolCall.result": "2"}),
        ("ai.embedMany", {"ai.operationId": "ai.embedMany", "ai.values": ['"a"', '"b"'], "ai.embeddings": ["[0.1]", "[0.2]"]}),
        ("ai.generateObject", {"ai.operationId": "ai.generateObject", "ai.response.object": '{"name":"x"}'}),
    ],
    "Spring AI": [
        (
            "chat gpt-4o",
            {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"}
            | {"gen_ai.usage.input_tokens": "26", "gen_ai.usage.output_tokens": "10", "gen_ai.usage.total_tokens": "36"}
            | {"spring.ai.kind": "chat_client", "gen_ai.request.temperature": "0.7"},
        ),
        ("embedding", {"gen_ai.operation.name": "embedding", "gen_ai.system": "openai"}),
    ],
    "Google ADK": [
        ("invocation", {"gen_ai.system": "gcp.vertex.agent"}),
        (
            "call_llm",
            {"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-pro", "gcp.vertex.agent.event_id": "e1"}
            | {"gcp.vertex.agent.llm_request": json.dumps({"model": "gemini-2.5-pro", "contents": [{"role": "user"}]})}
            | {"gcp.vertex.agent.llm_response": json.dumps({"content": {"parts": [{"text": "Hi"}]}, "usage": {"total": 9}})}
            | {"gen_ai.usage.input_tokens": 6, "gen_ai.usage.output_tokens": 3, "gcp.vertex.agent.session_id": "s"},
        ),
        (
            "execute_tool",
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "roll_die", "gen_ai.tool.description": "Rolls."}
            | {"gcp.vertex.agent.tool_call_args": '{"sides": 6}', "gcp.vertex.agent.tool_response": '{"result": 4}'}
            | {"gcp.vertex.agent.llm_request": "{}", "gcp.vertex.agent.llm_response": "{}"},
        ),
    ],
    "Gemini CLI": [
        (
            "user_prompt",
            {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "user_prompt", "gen_ai.conversation.id": "g-1"}
            | {"gen_ai.input.messages": '"Fix the bug"', "gen_ai.agent.description": "CLI"},
        ),
        (
            "system_prompt",
            {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "system_prompt"}
            | {
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "parts": [{"text": "You are …"}]}, {"role": "model"}, "x"]
                )
            },
        ),
        (
            "llm_call",
            {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "llm_call", "gen_ai.request.model": "gemini-2.5-pro"}
            | {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"text": "Grüße"}]}])}
            | {"gen_ai.output.messages": json.dumps([{"role": "model", "parts": [{"text": "a"}]}, {"parts": [{"text": "b"}]}])}
            | {"gen_ai.usage.input_tokens": 2048, "gen_ai.usage.output_tokens": 99, "gen_ai.provider.name": "gemini"},
        ),
        (
            "llm_call, wrapped already",
            {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "llm_call"}
            | {"gen_ai.input.messages": '{"contents": "Hi"}', "gen_ai.output.messages": '{"candidates": []}'},
        ),
        (
            "tool_call",
            {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "tool_call"}
            | {"gen_ai.tool.call.arguments": {"path": "a.py"}, "gen_ai.tool.call.result": ["x"]},
        ),
        ("agent_call", {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "agent_call"}),
    ],
    "Claude Code": [
        (
            "claude_code.interaction",
            {"span.type": "claude_code.interaction", "user_prompt": "Fix the bug 🐛", "session.id": "cc-1", "user.id": "hash"}
            | {"interaction.sequence": 1, "user_prompt_length": 11, "terminal.type": "xterm"},
        ),
        (
            "claude_code.llm_request",
            {"span.type": "claude_code.llm_request", "model": "claude-sonnet-4-5", "input_tokens": 12, "output_tokens": 345}
            | {"cache_read_tokens": 10_000, "cache_creation_tokens": 500, "gen_ai.system": "anthropic"}
            | {"gen_ai.request.model": "claude-sonnet-4-5", "new_context": "[USER]\nFix", "response.model_output": "Done."},
        ),
        (
            "claude_code.llm_request",
            {"span.type": "llm_request", "input_tokens": "7", "output_tokens": "x", "new_context": "<REDACTED>"},
        ),
        (
            "claude_code.tool",
            {"span.type": "claude_code.tool", "tool_name": "Bash", "full_command": "ls", "file_path": "<REDACTED>"},
        ),
        ("claude_code.tool", {"span.type": "tool", "tool_input": '{"command": "ls"}', "new_context": "a.py"}),
        ("claude_code.tool.execution", {"span.type": "claude_code.tool.execution", "input_tokens": 5}),
        ("claude_code.interaction", {"span.type": "interaction", "user_prompt": "<REDACTED>", "new_context": "shown"}),
    ],
    "VoltAgent": [
        (
            "my-voltagent-app",
            {
                "entity.type": "agent",
                "entity.id": "my-app",
                "voltagent.operation_id": "op-1",
                "voltagent.conversation_id": "c-1",
            }
            | {"agent.messages": json.dumps([{"role": "user", "content": "Hi 👋"}]), "output": "Hello", "input": "Hi"}
            | {"usage.prompt_tokens": 21, "usage.completion_tokens": 13, "usage.total_tokens": 34},
        ),
        (
            "llm:streamText",
            {"entity.type": "agent", "span.type": "llm", "llm.operation": "streamText", "llm.model": "gpt-4o"}
            | {"llm.messages": json.dumps([{"role": "user", "content": "Hi"}]), "voltagent.operation_id": "op-1"}
            | {"llm.usage.prompt_tokens": 21, "llm.usage.completion_tokens": 13, "llm.usage.total_tokens": 34},
        ),
        ("tool.execution:weather", {"span.type": "tool", "input": {"city": "Rome"}, "output": {"celsius": 12}}),
        ("memory.read", {"span.type": "memory", "entity.type": "agent", "output": "[]"}),
    ],
    "LiveKit": [
        (
            "agent_session",
            {"lk.agent_name": "voice", "lk.room_name": "r-1", "lk.job_id": "j", "lk.participant_identity": "caller"},
        ),
        (
            "user_turn",
            {"lk.user_transcript": "What time is it?", "lk.transcript_confidence": 0.97, "lk.transcription_delay": 0.3},
        ),
        (
            "llm_request",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 77,
                "lk.retry_count": 0,
            }
            | {"lk.chat_ctx": json.dumps({"items": [{"role": "user", "content": ["Time?"]}]}), "lk.response.text": "Noon."}
            | {"gen_ai.usage.output_tokens": 5, "gen_ai.provider.name": "api.openai.com"},
        ),
        ("function_tool", {"lk.function_tool.name": "clock", "lk.function_tool.arguments": "{}"}),
        ("agent_turn", {"lk.generation_id": "g", "lk.instructions": "Be brief", "lk.user_input": "Hi"}),
        ("tts_request", {"lk.tts.streaming": True, "lk.input_text": "Noon."}),
        ("llm_node", {"gen_ai.operation.name": "CHAT", "lk.function_tool.id": "t"}),
        ("vad", {"lk.vad": 1, "lk.response.function_calls": "[]"}),
    ],
    "Laminar": [
        ("pipeline", {"lmnr.span.type": "DEFAULT", "lmnr.span.path": ["pipeline"], "lmnr.span.input": '{"q": "?"}'}),
        (
            "openai.chat",
            {"lmnr.span.type": "LLM", "lmnr.span.input": json.dumps(OPENAI_CHAT["messages"]), "lmnr.span.output": "Hello!"}
            | {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06"}
            | {"gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 2, "gen_ai.usage.cost": 0.0001},
        ),
        ("tool", {"lmnr.span.type": "TOOL", "lmnr.span.output": '{"ok": true}'}),
        ("evaluator", {"lmnr.span.type": "HUMAN_EVALUATOR"}),
        ("cached", {"lmnr.span.type": "CACHED"}),
    ],
    "Langfuse": [
        (
            "langfuse trace",
            {
                "langfuse.observation.type": "span",
                "langfuse.observation.input": '{"q": "?"}',
                "session.id": "lf",
                "user.id": "u",
            }
            | {"langfuse.trace.name": "qa", "langfuse.trace.tags": ["a", "b"]},
        ),
        (
            "generation",
            {"langfuse.observation.type": "generation", "langfuse.observation.model.name": "gpt-4o"}
            | {"langfuse.observation.input": json.dumps(OPENAI_CHAT), "langfuse.observation.output": json.dumps(OPENAI_ANSWER)}
            | {"langfuse.observation.usage_details": '{"input": 3, "output": 4}'},
        ),
        ("retriever", {"langfuse.observation.type": "retriever", "langfuse.observation.output": "[]"}),
        ("event", {"langfuse.observation.type": "event"}),
    ],
}

# dialect → events on a span of these attributes
EVENTS: dict[str, tuple[Attributes, list[tuple[str, Attributes]]]] = {
    "Spring AI": (
        {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.usage.input_tokens": 26},
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": '["system: brief", "user: hi"]'}),
            ("gen_ai.content.completion", {"gen_ai.completion": "Hello 🌍"}),
            ("gen_ai.content.completion", {"gen_ai.completion": "second"}),
        ],
    ),
    "Spring AI, list": (
        {"gen_ai.operation.name": "chat"},
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": ["a", "b"]}),
            ("gen_ai.content.completion", {"gen_ai.completion": {"x": 1}}),
        ],
    ),
    "LiveKit": (
        {"lk.agent_name": "voice", "gen_ai.operation.name": "chat"},
        [
            ("gen_ai.system.message", {"content": "Be brief. Grüße"}),
            ("gen_ai.user.message", {"content": '"quoted"'}),
            ("gen_ai.assistant.message", {"content": "Hm", "role": "assistant"}),
            ("gen_ai.user.message", {"content": '{"parts": ["Time?"]}'}),
            ("gen_ai.choice", {"content": "Noon.", "role": '"assistant"'}),
            ("gen_ai.choice", {"role": "assistant"}),
        ],
    ),
    "Claude Code": (
        {"span.type": "claude_code.tool", "tool_name": "Edit"},
        [("tool.output", {"output": "<REDACTED>", "content": '{"lines": 3}'}), ("tool.output", {"diff": "+a"})],
    ),
    "Claude Code, redacted": ({"span.type": "claude_code.tool"}, [("tool.output", {"output": "<REDACTED>"}), ("other", {})]),
    "no dialect": ({"http.method": "GET"}, [("gen_ai.content.prompt", {"gen_ai.prompt": "seen all the same"})]),
}

ODD_TEXTS = ("", " ", "x", "null", "{}", "[]", "0", "12", "1.5", '"twice"', '["a"]', '{"a": {"b": 1}}')
ODD_NUMBERS = (0, 12, -3, 2**63 - 1, 0.5, 3.0, True, False)
ODD_VALUES: dict[str, Any] = {
    **{f"text {text}": text for text in ODD_TEXTS},
    **{f"{type(number).__name__} {number}": number for number in ODD_NUMBERS},
    "unset": None,
    "list": [1, "a"],
    "empty list": [],
    "map": {"a": 1},
    "empty map": {},
    "bytes": b"x",
}
UNHASHABLE = {'text ["a"]', 'text {"a": {"b": 1}}', "text {}", "text []", "list", "empty list", "map", "empty map"}
"""Where MLflow looks a span's type up in a dict, these make it refuse the whole request: see breaks.py."""

TYPE_KEYS = (
    *("openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind", "ai.operationId", "lmnr.span.type"),
    *("langfuse.observation.type", "span.type", "entity.type"),
)
"""The attributes by which a span's type is looked up."""
READ_KEYS = (
    *TYPE_KEYS,
    *("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total", "input.value", "output.value"),
    *("llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_write", "llm.provider"),
    *("llm.response.model_name", "llm.model_name", "llm.request.model_name", "embedding.model_name"),
    *("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens"),
    *("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens", "gen_ai.input.messages"),
    *("gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.response.model"),
    *("gen_ai.request.model", "gen_ai.provider.name", "gen_ai.tool.definitions", "gen_ai.agent.name", "gen_ai.system"),
    *("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens", "llm.usage.total_tokens", "gen_ai.conversation.id"),
    *("traceloop.entity.input", "traceloop.entity.output", "gen_ai.prompt.0.content", "gen_ai.completion.0.content"),
    *(
        "gen_ai.completion.0.tool_calls.0.arguments",
        "ai.prompt",
        "ai.toolCall.args",
        "ai.value",
        "ai.values",
        "ai.response.text",
    ),
    *("ai.toolCall.result", "ai.response.object", "ai.embedding", "ai.embeddings", "ai.prompt.messages", "ai.prompt.other"),
    *("gcp.vertex.agent.llm_request", "gcp.vertex.agent.tool_call_args", "gcp.vertex.agent.llm_response"),
    *("gcp.vertex.agent.tool_response", "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"),
    *("user_prompt", "new_context", "response.model_output", "tool_input", "full_command", "file_path", "agent.messages"),
    *("llm.messages", "input", "output", "voltagent.operation_id", "usage.prompt_tokens", "usage.completion_tokens"),
    *("usage.total_tokens", "llm.usage.prompt_tokens", "llm.usage.completion_tokens", "lk.user_input", "lk.user_transcript"),
    *("lk.chat_ctx", "lk.input_text", "lk.response.text", "lk.response.function_calls", "lk.agent_name", "lk.retry_count"),
    *("lmnr.span.input", "lmnr.span.output", "langfuse.observation.input", "langfuse.observation.output"),
    *("mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.message.format", "mlflow.chat.tools", "mlflow.llm.provider"),
)
"""Every attribute that a translator reads; patterns and prefixes by an example."""


def dialects() -> Iterator[Scenario]:
    """All of them."""
    for name, spans in DIALECTS.items():
        yield _whole(name, spans)
        yield _in_pieces(name, spans)
    for name, (attrs, events) in EVENTS.items():
        yield _events(name, attrs, events)
    yield from _mixed()
    for key in READ_KEYS:
        yield _odd(key)


def _whole(name: str, spans: list[tuple[str, Attributes]]) -> Scenario:
    """In one request, as an SDK that batches sends it; then each span as a root of its own."""
    draft = Draft(f"{name}: a trace")
    made = [draft.span(str(i), "0" if i else "", attrs, name=span, at=i * 10) for i, (span, attrs) in enumerate(spans)]
    draft.send(*made)
    draft.send(*(draft.span("root", attrs=attrs, name=span, trace=str(i)) for i, (span, attrs) in enumerate(spans)))
    return draft.done()


def _in_pieces(name: str, spans: list[tuple[str, Attributes]]) -> Scenario:
    """Children first, one a request; and as an SDK sends it that has dumped each value as JSON before."""
    draft = Draft(f"{name}: in pieces, dumped")
    for i, (span, attrs) in reversed(list(enumerate(spans))):
        dumped = {key: json.dumps(value, ensure_ascii=False) for key, value in attrs.items()}
        draft.send(draft.span(str(i), "0" if i else "", dumped, name=span, at=i * 10))
    return draft.done()


def _events(name: str, attrs: Attributes, events: list[tuple[str, Attributes]]) -> Scenario:
    draft = Draft(f"{name}: events")
    sent = [
        Span.Event(name=event, time_unix_nano=EPOCH + i, attributes=attributes(pairs))
        for i, (event, pairs) in enumerate(events)
    ]
    draft.send(draft.span("root", attrs=attrs, events=sent), draft.span("child", "root", attrs, events=sent[::-1]))
    return draft.done()


def _mixed() -> Iterator[Scenario]:
    """Spans that speak two dialects at once (as where two instrumentations see one call): the order of translators decides."""
    richest = {name: max(spans, key=lambda span: len(span[1]))[1] for name, spans in DIALECTS.items()}
    for one, own in richest.items():
        draft = Draft(f"{one} mixed with each other dialect")
        others = {other: attrs for other, attrs in richest.items() if other != one}
        draft.send(*(draft.span("root", attrs=own | attrs, trace=other) for other, attrs in others.items()))
        yield draft.done()


def _odd(key: str) -> Scenario:
    """One attribute with every kind of value, beside what its translators ask for. Roots all of them, in one trace."""
    draft = Draft(f"odd values of {key}")
    values = {name: value for name, value in ODD_VALUES.items() if not (key in TYPE_KEYS and name in UNHASHABLE)}
    draft.send(*(draft.span(name, attrs={**_beside(key), key: value}) for name, value in values.items()))
    return draft.done()


def _beside(key: str) -> Mapping[str, Any]:
    if key in ("gen_ai.input.messages", "gen_ai.output.messages"):
        return {"gen_ai.agent.name": "gemini-cli", "gen_ai.operation.name": "system_prompt"}
    if key.startswith(("ai.prompt.", "ai.response.")):
        return {"ai.operationId": "ai.generateText.doGenerate"}
    for kind in ("llm_request", "tool", "interaction"):
        spans = [attrs for name, attrs in DIALECTS["Claude Code"] if name == f"claude_code.{kind}"]
        if any(key in attrs for attrs in spans):
            return {"span.type": f"claude_code.{kind}"}
    return {}
