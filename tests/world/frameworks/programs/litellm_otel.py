"""LiteLLM, with its own callback for OpenTelemetry."""

# /// script
# dependencies = [
#     "litellm==1.110.2",
# ]
# ///

import json
import os

import litellm
from opentelemetry import trace
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

os.environ["USE_OTEL_LITELLM_REQUEST_SPAN"] = "true"  # a span of its own for each call
exporting()
litellm.callbacks = ["otel"]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
messages = [{"role": "system", "content": INSTRUCTIONS}]
for question in QUESTIONS:
    messages.append({"role": "user", "content": question})
    with trace.get_tracer("app").start_as_current_span("weather agent"):
        for _ in range(2):
            answer = litellm.completion("openai/gpt-4o-mini", messages, tools=tools, api_base=f"{MODELS}/v1", api_key="none",
                                        user="ada", metadata={"session_id": "session-1"})  # fmt: skip
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls or ():
                result = get_weather(**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
