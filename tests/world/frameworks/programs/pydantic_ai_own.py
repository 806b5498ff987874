"""Pydantic AI, with its own instrumentation."""

# /// script
# dependencies = [
#     "pydantic-ai-slim[openai]==2.68.0",
# ]
# ///

from pydantic_ai import Agent
from pydantic_ai.models.instrumented import InstrumentationSettings
from telemetry import INSTRUCTIONS, QUESTIONS, exporting, get_weather

Agent.instrument_all(InstrumentationSettings(tracer_provider=exporting()))
agent = Agent("openai-chat:gpt-4o-mini", name="weather", instructions=INSTRUCTIONS, tools=[get_weather])
messages = []
for question in QUESTIONS:
    messages = agent.run_sync(question, message_history=messages).all_messages()
