// Mastra's agent, with its own exporter for OpenTelemetry.
import { createOpenAI } from "@ai-sdk/openai";
import { Agent } from "@mastra/core/agent";
import { Mastra } from "@mastra/core/mastra";
import { createTool } from "@mastra/core/tools";
import { Observability } from "@mastra/observability";
import { OtelExporter } from "@mastra/otel-exporter";
import { z } from "zod";

import { getWeather, INSTRUCTIONS, MODELS, QUESTIONS } from "./telemetry.mjs";

const endpoint = `${process.env.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces`;
const headers = Object.fromEntries(
  (process.env.OTEL_EXPORTER_OTLP_HEADERS ?? "").split(",").filter(Boolean).map((pair) => pair.split("=")),
);
const weather = new Agent({
  id: "weather",
  name: "weather",
  instructions: INSTRUCTIONS,
  model: createOpenAI({ baseURL: `${MODELS}/v1`, apiKey: "none" }).chat("gpt-4o-mini"),
  tools: {
    get_weather: createTool({
      id: "get_weather",
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async (input) => getWeather(input),
    }),
  },
});
const exporter = new OtelExporter({ provider: { custom: { endpoint, headers, protocol: "http/protobuf" } } });
const mastra = new Mastra({
  agents: { weather },
  observability: new Observability({ configs: { otel: { serviceName: process.env.OTEL_SERVICE_NAME, exporters: [exporter] } } }),
  logger: false,
});
const messages = [];
for (const content of QUESTIONS) {
  messages.push({ role: "user", content });
  const { response } = await mastra
    .getAgent("weather")
    .generate(messages, { maxSteps: 3, tracingOptions: { metadata: { threadId: "session-1", userId: "ada" } } });
  messages.push(...response.messages);
}
await mastra.shutdown();
