"""Microsoft's Agent Framework, with its own instrumentation."""

# /// script
# dependencies = [
#     "agent-framework-core==1.23.0",
#     "agent-framework-openai==1.17.0",
# ]
# ///

import asyncio

from agent_framework import Agent
from agent_framework.observability import enable_instrumentation
from agent_framework.openai import OpenAIChatCompletionClient
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

exporting()
enable_instrumentation(enable_sensitive_data=True)


async def main() -> None:
    """Two turns."""
    client = OpenAIChatCompletionClient(model="gpt-4o-mini", base_url=f"{MODELS}/v1", api_key="none")
    agent = Agent(client=client, name="weather", instructions=INSTRUCTIONS, tools=[get_weather])
    session = agent.create_session()
    for question in QUESTIONS:
        await agent.run(question, session=session)


asyncio.run(main())
