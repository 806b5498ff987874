"""Agno, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "agno==3.1.10",
#     "openai==3.57.0",
#     "openinference-instrumentation-agno==1.0.15",
# ]
# ///

from agno.agent import Agent
from agno.db.in_memory import InMemoryDb
from agno.models.openai import OpenAIChat
from openinference.instrumentation.agno import AgnoInstrumentor
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

AgnoInstrumentor().instrument(tracer_provider=exporting())
agent = Agent(
    name="weather",
    model=OpenAIChat("gpt-4o-mini", base_url=f"{MODELS}/v1", api_key="none"),
    tools=[get_weather],
    instructions=INSTRUCTIONS,
    db=InMemoryDb(),
    add_history_to_context=True,
)
for question in QUESTIONS:
    agent.run(question, session_id="session-1", user_id="ada")
