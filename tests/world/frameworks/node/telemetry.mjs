// What all programs share: where their spans go. The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT.
import { trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

export const MODELS = process.env.MODELS_URL;
export const INSTRUCTIONS = "You are a helpful assistant.";
export const QUESTIONS = ["What is the weather in Paris?", "And in Rome?"];
export const getWeather = ({ city }) => `${city}: sunny, 21`;

/** The process's provider. Call its `shutdown` at the end: it sends what it has. */
export function exporting() {
  const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
  provider.register();
  return provider;
}

/** Runs the function within a span of the program's own. */
export const within = (name, run) =>
  trace.getTracer("app").startActiveSpan(name, async (span) => {
    try {
      return await run();
    } finally {
      span.end();
    }
  });
