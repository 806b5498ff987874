"""OpenAI's SDK (responses) with a picture and reasoning, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "openai==3.57.0",
#     "openinference-instrumentation-openai==0.1.66",
# ]
# ///

import json

from openai import OpenAI
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from telemetry import INSTRUCTIONS, PNG, QUESTIONS, exporting, get_weather

OpenAIInstrumentor().instrument(tracer_provider=exporting())
client = OpenAI()
schema = {"type": "object", "properties": {"city": {"type": "string"}}}
tools = [{"type": "function", "name": "get_weather", "description": "The weather in a city.", "parameters": schema}]
messages = []
for question in QUESTIONS:
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    messages.append({"role": "user", "content": [{"type": "input_text", "text": question}, picture]})
    with (
        trace.get_tracer("app").start_as_current_span("weather agent"),
        using_attributes(session_id="session-1", user_id="ada"),
    ):
        for _ in range(2):
            answer = client.responses.create(
                model="gpt-4o-mini",
                instructions=INSTRUCTIONS,
                input=messages,
                tools=tools,
                reasoning={"effort": "low", "summary": "auto"},
            )
            messages += [item.model_dump(exclude_none=True) for item in answer.output]
            for call in answer.output:
                if call.type == "function_call":
                    result = get_weather(**json.loads(call.arguments))
                    messages.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
