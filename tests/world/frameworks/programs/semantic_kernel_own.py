"""Semantic Kernel, with its own tracer, which a setting of its environment switches on."""

# /// script
# dependencies = [
#     "semantic-kernel==1.45.0",
# ]
# ///

import asyncio
import os

os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE"] = "true"

from openai import AsyncOpenAI
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

exporting()


class Weather:
    """A plugin."""

    @kernel_function(description="The weather in a city.")
    def get_weather(self, city: str) -> str:
        """The weather in a city."""
        return get_weather(city)


async def main() -> None:
    """Two turns."""
    service = OpenAIChatCompletion("gpt-4o-mini", async_client=AsyncOpenAI(base_url=f"{MODELS}/v1", api_key="none"))
    agent = ChatCompletionAgent(name="weather", service=service, instructions=INSTRUCTIONS, plugins=[Weather()])
    thread = None
    for question in QUESTIONS:
        thread = (await agent.get_response(question, thread=thread)).thread


asyncio.run(main())
