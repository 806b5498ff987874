"""LangGraph, with Traceloop's instrumentation."""

# /// script
# dependencies = [
#     "langchain==1.5.0",
#     "langchain-openai==1.7.4",
#     "opentelemetry-instrumentation-langchain==0.62.4",
# ]
# ///

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from telemetry import INSTRUCTIONS, QUESTIONS, exporting, get_weather

LangchainInstrumentor().instrument(tracer_provider=exporting())
agent = create_agent(ChatOpenAI(model="gpt-4o-mini"), tools=[get_weather], system_prompt=INSTRUCTIONS)
messages = []
for question in QUESTIONS:
    asked = {"messages": [*messages, {"role": "user", "content": question}]}
    messages = agent.invoke(asked, {"metadata": {"session_id": "session-1", "user_id": "ada"}})["messages"]
