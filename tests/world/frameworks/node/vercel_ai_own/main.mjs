// Vercel's AI SDK, with its own telemetry.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, tool } from "ai";
import { z } from "zod";

import { exporting, getWeather, INSTRUCTIONS, MODELS, QUESTIONS } from "./telemetry.mjs";

const provider = exporting();
const openai = createOpenAI({ baseURL: `${MODELS}/v1`, apiKey: "none" });
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: getWeather,
  }),
};
const messages = [];
for (const question of QUESTIONS) {
  messages.push({ role: "user", content: question });
  const { response } = await generateText({
    model: openai.chat("gpt-4o-mini"),
    system: INSTRUCTIONS,
    messages,
    tools,
    stopWhen: stepCountIs(3),
    experimental_telemetry: {
      isEnabled: true,
      functionId: "weather agent",
      metadata: { sessionId: "session-1", userId: "ada" },
    },
  });
  messages.push(...response.messages);
}
await provider.shutdown();
