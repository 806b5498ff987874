"""LlamaIndex, with its own tracer."""

# /// script
# dependencies = [
#     "llama-index-core==0.14.25",
#     "llama-index-llms-openai-like==0.8.1",
#     "llama-index-observability-otel==0.7.0",
# ]
# ///

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike
from llama_index.observability.otel import LlamaIndexOpenTelemetry
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, get_weather

observed = LlamaIndexOpenTelemetry(service_name_or_resource="weather", span_exporter=OTLPSpanExporter())
observed.start_registering()


async def main() -> None:
    """Two turns."""
    model = OpenAILike(model="gpt-4o-mini", api_base=f"{MODELS}/v1", api_key="none", is_chat_model=True,
                       is_function_calling_model=True)  # fmt: skip
    agent = FunctionAgent(name="weather", tools=[get_weather], llm=model, system_prompt=INSTRUCTIONS, streaming=False)
    context = Context(agent)
    for question in QUESTIONS:
        await agent.run(question, ctx=context)


asyncio.run(main())
