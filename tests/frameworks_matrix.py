"""What MLflow shows of each export in `parity/exports`: the table in docs/frameworks.md, which `make docs` writes.

A cell is empty only where `WITHOUT` says that the export has nothing for it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from frameworks import MODELS, NAMES, PROGRAMS, Shown, export, folded, parts, spans
from sources import PACKAGE

from headrace.mlflow.model import Trace
from headrace.mlflow.translate.dialects.messages import is_chat

PAGE = PACKAGE.parents[1] / "docs" / "frameworks.md"
BEGIN, END = "<!-- matrix: written by `make docs` from real exports -->", "<!-- end of matrix -->"
WHOSE = {
    "anthropic_sdk_native_double": "Anthropic's SDK, and Traceloop's instrumentation of it",
    "claude_code_reconstructed": "Claude Code",
    "genai_events_in_logs": "OpenTelemetry's OpenAI instrumentation, messages in logs",
    "genai_inference_details_in_logs": "the same, details in logs",
    "genai_parts_preview": "the same, messages in attributes",
    "haystack_native": "Haystack",
    "langfuse_sdk": "Langfuse's SDK",
    "langsmith_otel": "LangSmith (LangGraph)",
    "litellm_tool_call": "LiteLLM",
    "mlflow_otlp_only_root_missing": "MLflow's own client",
    "openinference_langchain": "LangGraph, OpenInference",
    "openinference_langchain_js": "LangGraph.js, OpenInference",
    "openinference_openai": "OpenAI's SDK, OpenInference",
    "openinference_openai_agents": "OpenAI's Agents SDK, OpenInference",
    "openinference_smolagents": "smolagents, OpenInference",
    "pydantic_ai_agent": "Pydantic AI",
    "pydantic_ai_v2_tool": "Pydantic AI, version 2 of its settings",
    "strands_events": "Strands Agents",
    "traceloop_events_in_logs": "Traceloop, messages in logs",
    "vercel_ai_embed": "Vercel's AI SDK: embed",
    "vercel_ai_generateObject": "Vercel's AI SDK: generateObject",
    "vercel_ai_generateText": "Vercel's AI SDK: generateText",
}
PROGRAMS_OF = {
    "agent_framework_own": "Microsoft's Agent Framework",
    "agno_openinference": "Agno, OpenInference",
    "anthropic_openinference": "Anthropic's SDK, OpenInference",
    "anthropic_thinking": "Anthropic's SDK, OpenInference: a picture, thinking",
    "autogen_own": "AutoGen's team, and Traceloop's instrumentation of OpenAI's SDK",
    "crewai_openinference": "CrewAI, OpenInference",
    "dspy_openinference": "DSPy, OpenInference",
    "genkit_own": "Genkit, in Node",
    "google_adk_legacy": "Google ADK, version 1 of its schema",
    "google_adk_own": "Google ADK",
    "haystack_own": "Haystack's agent",
    "langgraph_js_openinference": "LangGraph.js, OpenInference",
    "langgraph_openinference": "LangGraph, OpenInference",
    "langgraph_traceloop": "LangGraph, Traceloop",
    "litellm_otel": "LiteLLM",
    "llama_index_openinference": "LlamaIndex, OpenInference",
    "llama_index_own": "LlamaIndex",
    "mastra_own": "Mastra's agent, in Node",
    "openai_agents_responses": "OpenAI's Agents SDK (responses), OpenInference",
    "openai_reasoning": "OpenAI's SDK (responses), OpenInference: a picture, reasoning",
    "openai_js_otel": "OpenAI's SDK in Node, OpenTelemetry's instrumentation, messages in logs",
    "pydantic_ai_own": "Pydantic AI",
    "semantic_kernel_own": "Semantic Kernel",
    "smolagents_openinference": "smolagents, OpenInference",
    "strands_own": "Strands Agents",
    "vercel_ai_own": "Vercel's AI SDK: generateText, in Node",
}
"""Programs in `world/frameworks/programs` and `world/frameworks/node`. What they export is kept, too."""
_NOBODY_AT_ALL = ("agent_framework_own", "autogen_own", "genkit_own", "haystack_own", "llama_index_own", "openai_js_otel",
                  "semantic_kernel_own")  # fmt: skip
_NO_USER = (*_NOBODY_AT_ALL, "google_adk_legacy", "google_adk_own", "pydantic_ai_own")
_NO_SESSION = (*_NOBODY_AT_ALL, "litellm_otel")
_LOGS = ("genai_events_in_logs", "genai_inference_details_in_logs", "traceloop_events_in_logs", "openai_js_otel")
_NOBODY = ("anthropic_sdk_native_double", "genai_parts_preview", "haystack_native", "openinference_openai_agents",
           "openinference_smolagents", "mlflow_otlp_only_root_missing")  # fmt: skip
WITHOUT: dict[str, frozenset[str]] = {
    "tree": frozenset({"mlflow_otlp_only_root_missing"}),
    "inputs": frozenset(_LOGS),
    "outputs": frozenset(_LOGS),
    "previews": frozenset({*_LOGS, "llama_index_openinference", "haystack_native", "mlflow_otlp_only_root_missing",
                           "vercel_ai_embed", "vercel_ai_generateObject"}),
    "chat": frozenset({*_LOGS, "vercel_ai_embed", "vercel_ai_generateObject", "llama_index_openinference"}),
    "tokens": frozenset({"dspy_openinference"}),
    "cost": frozenset({"dspy_openinference"}),
    "session": frozenset({*_NOBODY, *_NO_SESSION, "genai_inference_details_in_logs", "litellm_tool_call"}),
    "user": frozenset({*_NOBODY, *_NO_USER, "genai_inference_details_in_logs", "openinference_langchain_js",
                       "pydantic_ai_agent", "pydantic_ai_v2_tool"}),
    "tools": frozenset({*_LOGS, "claude_code_reconstructed", "genai_parts_preview", "haystack_native", "litellm_tool_call",
                        "vercel_ai_embed", "vercel_ai_generateObject", "dspy_openinference"}),
}  # fmt: skip
"""Column → the exports that have nothing for it in attributes of their spans. What was asked or answered is an object in some:
then no preview is a sentence, and no chat is one. OpenInference's LlamaIndex writes what Python shows of objects."""

_OF_PROGRAMS = (
    "Of programs that the tests run against a server that speaks as models do, each with its framework's newest release:"
)


class Export(NamedTuple):
    """What becomes of one export."""

    spans: list[Shown]
    trace: Trace[Any]

    @property
    def calls(self) -> list[Shown]:
        """The calls of models."""
        return [span for span in self.spans if span.type in MODELS]

    @property
    def chats(self) -> list[Shown]:
        """Those of them that are chats."""
        return [span for span in self.calls if span.type != "EMBEDDING"]


def _any(of: Callable[[Shown], Any]) -> Callable[[Export], bool]:
    return lambda export: any(of(span) for span in export.spans)


def _is_readable(preview: str | None) -> bool:
    """Whether it is what somebody said, and no JSON."""
    return bool(preview) and preview != "OK" and not str(preview).startswith(("{", "["))


def _is_drawn(value: Any) -> bool:
    """Whether MLflow's UI has messages to draw, in OpenAI's form, the GenAI conventions', or Vercel's; or a text alone."""
    if isinstance(value, dict):
        return is_chat(value) or "finishReason" in value
    return isinstance(value, str) or (isinstance(value, list) and all("role" in message for message in value))


COLUMNS: dict[str, Callable[[Export], Any]] = {
    "tree": lambda export: any(row.parent_span_id is None for row in export.trace.spans.values()),
    "types": lambda export: export.calls and all(span.type != "UNKNOWN" for span in export.spans),
    "inputs": _any(lambda span: span.inputs),
    "outputs": _any(lambda span: span.outputs),
    "previews": lambda export: _is_readable(export.trace.request_preview) and _is_readable(export.trace.response_preview),
    "chat": lambda export: (
        export.chats and all(_is_drawn(span.inputs) and _is_drawn(span.outputs) for span in export.chats if span.inputs)
    ),
    "tokens": lambda export: (export.trace.tokens[2] or 0) > 0,
    "cost": lambda export: (export.trace.costs[2] or 0) > 0,
    "model": _any(lambda span: span.model and span.type in MODELS),
    "session": lambda export: export.trace.session_id,
    "user": lambda export: export.trace.user_id,
    "tools": _any(lambda span: span.attributes.get("mlflow.chat.tools")),
}


def shown_of(made: Export) -> dict[str, bool]:
    """Column → whether it is shown."""
    return {column: bool(is_there(made)) for column, is_there in COLUMNS.items()}


@cache
def cells() -> tuple[tuple[str, dict[str, bool]], ...]:
    """Each export, and what is shown of it."""
    return tuple((name, shown_of(Export(spans(export(name)), folded(parts(export(name)))))) for name in (*NAMES, *PROGRAMS))


def missing(name: str, found: dict[str, bool]) -> list[str]:
    """The columns that are empty though the export has data for them."""
    return [column for column, there in found.items() if not there and name not in WITHOUT.get(column, ())]


def table(of: dict[str, str], heading: str) -> str:
    """The matrix of some exports as Markdown. A dash: the export has nothing for it."""
    lines = [f"| {heading} | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, found in cells():
        lacks = missing(name, found)
        marks = ["✓" if there else "**missing**" if column in lacks else "–" for column, there in found.items()]
        if name in of:
            lines.append(f"| {of[name]} | {' | '.join(marks)} |")
    return "\n".join(lines)


def rendered() -> str:
    """The page with the matrix in its place."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    tables = f"{table(WHOSE, 'Framework')}\n\n{_OF_PROGRAMS}\n\n{table(PROGRAMS_OF, 'Program')}"
    return f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(rendered())
