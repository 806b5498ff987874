"""AutoGen, with its own tracer and Traceloop's instrumentation of OpenAI's SDK, as AutoGen's guide advises."""

# /// script
# dependencies = [
#     "autogen-agentchat==0.7.5",
#     "autogen-ext[openai]==0.7.5",
#     "opentelemetry-instrumentation-openai==0.62.4",
# ]
# ///

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

provider = exporting()
OpenAIInstrumentor().instrument(tracer_provider=provider)


async def main() -> None:
    """Two turns."""
    model = OpenAIChatCompletionClient(model="gpt-4o-mini", base_url=f"{MODELS}/v1", api_key="none")
    agent = AssistantAgent("weather", model, tools=[get_weather], system_message=INSTRUCTIONS, reflect_on_tool_use=True)
    team = RoundRobinGroupChat([agent], termination_condition=TextMessageTermination("weather"))
    for question in QUESTIONS:
        with provider.get_tracer("app").start_as_current_span("weather team"):
            await team.run(task=question)


asyncio.run(main())
