"""CrewAI, with OpenInference's instrumentations of it and of OpenAI's SDK."""

# /// script
# dependencies = [
#     "crewai==1.15.30",
#     "openinference-instrumentation-crewai==1.1.21",
#     "openinference-instrumentation-openai==0.1.66",
# ]
# ///

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from openinference.instrumentation import using_attributes
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor
from telemetry import MODELS, QUESTIONS, exporting, get_weather

provider = exporting()
CrewAIInstrumentor().instrument(tracer_provider=provider)
OpenAIInstrumentor().instrument(tracer_provider=provider)
model = LLM(model="openai/gpt-4o-mini", base_url=f"{MODELS}/v1", api_key="none")
agent = Agent(role="Weather agent", goal="Answer {question}", backstory="You know skies.", llm=model, tools=[tool(get_weather)])
task = Task(description="{question}", expected_output="A sentence.", agent=agent)
crew = Crew(name="weather crew", agents=[agent], tasks=[task])
for question in QUESTIONS:
    with using_attributes(session_id="session-1", user_id="ada"):
        crew.kickoff({"question": question})
