"""Strands Agents, with its own tracer."""

# /// script
# dependencies = [
#     "strands-agents[openai,otel]==1.62.0",
# ]
# ///

from strands import Agent, tool
from strands.models.openai import OpenAIModel
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

exporting()
model = OpenAIModel(client_args={"base_url": f"{MODELS}/v1", "api_key": "none"}, model_id="gpt-4o-mini")
said = {"session.id": "session-1", "user.id": "ada"}
agent = Agent(model, name="weather", system_prompt=INSTRUCTIONS, tools=[tool(get_weather)], trace_attributes=said)
for question in QUESTIONS:
    agent(question)
