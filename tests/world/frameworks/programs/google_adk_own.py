"""Google's Agent Development Kit, with its own tracer, which writes messages into spans if a setting says so."""

# /// script
# dependencies = [
#     "google-adk==2.13.0",
# ]
# ///

import asyncio
import os

os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

from google.adk.agents import Agent
from google.adk.runners import InMemoryRunner
from google.genai.types import Content, Part
from telemetry import INSTRUCTIONS, QUESTIONS, exporting, get_weather

exporting()


async def main() -> None:
    """Two turns."""
    agent = Agent(name="weather", model="gemini-2.5-flash", instruction=INSTRUCTIONS, tools=[get_weather])
    runner = InMemoryRunner(agent, app_name="app")
    session = await runner.session_service.create_session(app_name="app", user_id="ada", session_id="session-1")
    for question in QUESTIONS:
        said = Content(role="user", parts=[Part(text=question)])
        async for _ in runner.run_async(user_id="ada", session_id=session.id, new_message=said):
            pass


asyncio.run(main())
