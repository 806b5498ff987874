// Genkit, with OpenAI's models.
import { openAI } from "@genkit-ai/compat-oai/openai";
import { genkit, z } from "genkit";

import { exporting, getWeather, INSTRUCTIONS, MODELS, QUESTIONS } from "./telemetry.mjs";

const provider = exporting();
const ai = genkit({ plugins: [openAI({ apiKey: "none", baseURL: `${MODELS}/v1` })] });
const weather = ai.defineTool(
  { name: "get_weather", description: "The weather in a city.", inputSchema: z.object({ city: z.string() }) },
  async (input) => getWeather(input),
);
const agent = ai.defineFlow({ name: "weather agent", inputSchema: z.string() }, async (prompt) => {
  const { text } = await ai.generate({ model: openAI.model("gpt-4o-mini"), system: INSTRUCTIONS, prompt, tools: [weather] });
  return text;
});
for (const question of QUESTIONS) await agent(question);
await provider.shutdown();
