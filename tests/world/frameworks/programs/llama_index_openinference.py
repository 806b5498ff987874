"""LlamaIndex, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "llama-index-core==0.14.25",
#     "llama-index-llms-openai-like==0.8.1",
#     "openinference-instrumentation-llama-index==4.6.1",
# ]
# ///

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike
from openinference.instrumentation import using_attributes
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

LlamaIndexInstrumentor().instrument(tracer_provider=exporting())


async def main() -> None:
    """Two turns."""
    model = OpenAILike(model="gpt-4o-mini", api_base=f"{MODELS}/v1", api_key="none", is_chat_model=True,
                       is_function_calling_model=True)  # fmt: skip
    agent = FunctionAgent(name="weather", tools=[get_weather], llm=model, system_prompt=INSTRUCTIONS)
    context = Context(agent)
    for question in QUESTIONS:
        with using_attributes(session_id="session-1", user_id="ada"):
            await agent.run(question, ctx=context)


asyncio.run(main())
