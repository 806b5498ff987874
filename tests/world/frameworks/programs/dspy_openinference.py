"""DSPy, with OpenInference's instrumentation."""

# /// script
# dependencies = [
#     "dspy==3.4.1",
#     "openinference-instrumentation-dspy==0.1.48",
# ]
# ///

import dspy
from openinference.instrumentation import using_attributes
from openinference.instrumentation.dspy import DSPyInstrumentor
from telemetry import INSTRUCTIONS, MODELS, QUESTIONS, exporting, get_weather

DSPyInstrumentor().instrument(tracer_provider=exporting())
dspy.configure(lm=dspy.LM("openai/gpt-4o-mini", api_base=f"{MODELS}/v1", api_key="none", cache=False))
agent = dspy.ReAct(dspy.Signature("question -> answer", INSTRUCTIONS), tools=[get_weather])
for question in QUESTIONS:
    with using_attributes(session_id="session-1", user_id="ada"):
        agent(question=question)
