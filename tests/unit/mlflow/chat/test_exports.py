"""The previews of real exports: what was asked and what was answered, in words, in any order of their spans."""

import random

import pytest
from frameworks import export, folded, parts
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

QUESTION, ANSWER = "What is the weather in Paris?", "The weather in Paris is sunny, 21 degrees."
TOLD = {
    "anthropic_sdk_native_double": ("weather-agent", QUESTION, ANSWER),
    "claude_code_reconstructed": ("claude_code.interaction", QUESTION, ANSWER),
    "genai_parts_preview": ("chat gpt-4o-mini", QUESTION, ANSWER),
    "langfuse_sdk": ("weather_agent", QUESTION, ANSWER),
    "langsmith_otel": ("LangGraph", QUESTION, ANSWER),
    "litellm_tool_call": ("litellm_request", QUESTION, ANSWER),
    "openinference_langchain": ("LangGraph", QUESTION, ANSWER),
    "openinference_langchain_js": ("LangGraph", QUESTION, ANSWER),
    "openinference_openai": ("weather-agent", QUESTION, ANSWER),
    "openinference_openai_agents": ("Weather workflow", QUESTION, ANSWER),
    "openinference_smolagents": ("ToolCallingAgent.run", QUESTION, ANSWER),
    "pydantic_ai_agent": ("invoke_agent weather_agent", QUESTION, ANSWER),
    "pydantic_ai_v2_tool": ("agent run", QUESTION, ANSWER),
    "haystack_native": ("haystack.pipeline.run", '{"prompt": {"city": "Paris"}}', ANSWER),
    "vercel_ai_embed": ("weather-agent", "Paris", "[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]"),
    "vercel_ai_generateObject": ("weather-agent", QUESTION, '{"city":"Paris","temperature":21}'),
    "vercel_ai_generateText": ("weather-agent", QUESTION, ANSWER),
}


def one_by_one(name: str, chance: random.Random) -> list[ExportTraceServiceRequest]:
    """Each span of an export in a request of its own, in any order."""
    requests = []
    for resource_spans in export(name).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                request = ExportTraceServiceRequest()
                request.resource_spans.add(resource=resource_spans.resource).scope_spans.add(
                    scope=scope_spans.scope, spans=[span]
                )
                requests.append(request)
    return chance.sample(requests, len(requests))


@pytest.mark.parametrize(("name", "told"), TOLD.items(), ids=TOLD)
def test_the_previews_of_an_export(name: str, told: tuple[str, str, str]) -> None:
    chance = random.Random(name)
    for requests in ([export(name)], one_by_one(name, chance), one_by_one(name, chance)):
        trace = folded([part for request in requests for part in parts(request)])
        assert (trace.trace_name, trace.request_preview, trace.response_preview) == told
