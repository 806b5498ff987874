"""Anthropic's SDK with a picture and thinking, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "anthropic==2.14.0",
#     "openinference-instrumentation-anthropic==3.1.0",
# ]
# ///

from anthropic import Anthropic
from openinference.instrumentation import using_attributes
from openinference.instrumentation.anthropic import AnthropicInstrumentor
from opentelemetry import trace
from telemetry import INSTRUCTIONS, MODELS, PNG, QUESTIONS, exporting, get_weather

AnthropicInstrumentor().instrument(tracer_provider=exporting())
client = Anthropic(base_url=MODELS, api_key="none")
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
tools = [{"name": "get_weather", "description": "The weather in a city.", "input_schema": schema}]
picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
messages = []
for question in QUESTIONS:
    messages.append({"role": "user", "content": [picture, {"type": "text", "text": question}]})
    with (
        trace.get_tracer("app").start_as_current_span("weather agent"),
        using_attributes(session_id="session-1", user_id="ada"),
    ):
        for _ in range(2):
            answer = client.messages.create(
                max_tokens=2000,
                model="claude-sonnet-4-5",
                system=INSTRUCTIONS,
                messages=messages,
                tools=tools,
                thinking={"type": "enabled", "budget_tokens": 1024},
            )
            messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]})
            calls = [block for block in answer.content if block.type == "tool_use"]
            if calls:
                results = [
                    {"type": "tool_result", "tool_use_id": call.id, "content": get_weather(**call.input)} for call in calls
                ]
                messages.append({"role": "user", "content": results})
