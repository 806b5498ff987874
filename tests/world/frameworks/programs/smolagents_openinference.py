"""smolagents, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "smolagents[openai]==1.26.0",
#     "openinference-instrumentation-smolagents==0.1.43",
# ]
# ///

from openinference.instrumentation import using_attributes
from openinference.instrumentation.smolagents import SmolagentsInstrumentor
from smolagents import OpenAIModel, ToolCallingAgent, tool
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting


@tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The city's name.
    """
    return f"{city}: sunny, 21"


SmolagentsInstrumentor().instrument(tracer_provider=exporting())
model = OpenAIModel("gpt-4o-mini", api_base=f"{MODELS}/v1", api_key="none")
agent = ToolCallingAgent(tools=[get_weather], model=model, instructions=INSTRUCTIONS)
for number, question in enumerate(QUESTIONS):
    with using_attributes(session_id="session-1", user_id="ada"):
        agent.run(question, reset=not number)
