// LangGraph.js, with OpenInference's instrumentation of LangChain.js.
import { setSession, setUser } from "@arizeai/openinference-core";
import { LangChainInstrumentation } from "@arizeai/openinference-instrumentation-langchain";
import * as callbacks from "@langchain/core/callbacks/manager";
import { tool } from "@langchain/core/tools";
import { createReactAgent } from "@langchain/langgraph/prebuilt";
import { ChatOpenAI } from "@langchain/openai";
import { context } from "@opentelemetry/api";
import { z } from "zod";

import { exporting, getWeather, INSTRUCTIONS, MODELS, QUESTIONS } from "./telemetry.mjs";

const provider = exporting();
new LangChainInstrumentation({ tracerProvider: provider }).manuallyInstrument(callbacks);
const weather = tool(getWeather, {
  name: "get_weather",
  description: "The weather in a city.",
  schema: z.object({ city: z.string() }),
});
const model = new ChatOpenAI({ model: "gpt-4o-mini", apiKey: "none", configuration: { baseURL: `${MODELS}/v1` } });
const agent = createReactAgent({ llm: model, tools: [weather], prompt: INSTRUCTIONS, name: "weather agent" });
let messages = [];
for (const question of QUESTIONS) {
  const own = setUser(setSession(context.active(), { sessionId: "session-1" }), { userId: "ada" });
  const asked = [...messages, { role: "user", content: question }];
  ({ messages } = await context.with(own, () => agent.invoke({ messages: asked })));
}
await provider.shutdown();
