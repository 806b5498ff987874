"""Haystack, with its own tracer."""

# /// script
# dependencies = [
#     "haystack-ai==3.4.1",
#     "opentelemetry-haystack==2.0.0",
# ]
# ///

import haystack.tracing
from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack_integrations.tracing.opentelemetry import OpenTelemetryTracer
from telemetry import INSTRUCTIONS, QUESTIONS, exporting, get_weather

haystack.tracing.enable_tracing(OpenTelemetryTracer(exporting().get_tracer("haystack")))
haystack.tracing.tracer.is_content_tracing_enabled = True
model = OpenAIChatGenerator(model="gpt-4o-mini")
agent = Agent(chat_generator=model, tools=[create_tool_from_function(get_weather)], system_prompt=INSTRUCTIONS)
pipeline = Pipeline()
pipeline.add_component("agent", agent)
messages = []
for question in QUESTIONS:
    asked = [*messages, ChatMessage.from_user(question)]
    messages = [
        message
        for message in pipeline.run({"agent": {"messages": asked}})["agent"]["messages"]
        if not message.is_from("system")
    ]
