"""OpenAI's Agents SDK, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "openai-agents==0.24.0",
#     "openinference-instrumentation-openai-agents==2.6.0",
# ]
# ///

from agents import Agent, Runner, function_tool
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from telemetry import INSTRUCTIONS, QUESTIONS, exporting, get_weather

OpenAIAgentsInstrumentor().instrument(tracer_provider=exporting())
agent = Agent(name="weather agent", instructions=INSTRUCTIONS, model="gpt-4o-mini", tools=[function_tool(get_weather)])
history = []
for question in QUESTIONS:
    with using_attributes(session_id="session-1", user_id="ada"):
        result = Runner.run_sync(agent, [*history, {"role": "user", "content": question}])
    history = result.to_input_list()
