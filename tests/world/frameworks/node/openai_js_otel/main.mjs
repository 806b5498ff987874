// OpenAI's SDK, with OpenTelemetry's instrumentation of it, which says in log records what was asked and answered.
// It finds modules that are required, not imported.
import { createRequire } from "node:module";

import { logs } from "@opentelemetry/api-logs";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-proto";
import { registerInstrumentations } from "@opentelemetry/instrumentation";
import { OpenAIInstrumentation } from "@opentelemetry/instrumentation-openai";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

import { exporting, getWeather, INSTRUCTIONS, MODELS, QUESTIONS, within } from "./telemetry.mjs";

const provider = exporting();
const records = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() })] });
logs.setGlobalLoggerProvider(records);
registerInstrumentations({ instrumentations: [new OpenAIInstrumentation({ captureMessageContent: true })] });
const { OpenAI } = createRequire(import.meta.url)("openai");

const client = new OpenAI({ baseURL: `${MODELS}/v1`, apiKey: "none" });
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather in a city.", parameters } }];
const messages = [{ role: "system", content: INSTRUCTIONS }];
for (const question of QUESTIONS) {
  messages.push({ role: "user", content: question });
  await within("weather agent", async () => {
    for (;;) {
      const { choices } = await client.chat.completions.create({ model: "gpt-4o-mini", messages, tools });
      const [{ message }] = choices;
      messages.push(message);
      if (!message.tool_calls) break;
      for (const { id, function: call } of message.tool_calls)
        messages.push({ role: "tool", tool_call_id: id, content: getWeather(JSON.parse(call.arguments)) });
    }
  });
}
await records.shutdown();
await provider.shutdown();
