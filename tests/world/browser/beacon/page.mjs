// One span of the web SDK of 2024, which still used sendBeacon: with ?headers it sends them by XMLHttpRequest instead.

import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { Resource } from "@opentelemetry/resources";
import { BatchSpanProcessor, WebTracerProvider } from "@opentelemetry/sdk-trace-web";

const settings = new URLSearchParams(location.search);
const experiment = settings.get("experiment");
const named = settings.has("headers") ? { headers: { "x-mlflow-experiment-id": experiment } } : {};
const provider = new WebTracerProvider({
  resource: new Resource({ "service.name": "old-page", ...(!named.headers && { "mlflow.experiment.id": experiment }) }),
});
provider.addSpanProcessor(new BatchSpanProcessor(new OTLPTraceExporter({ url: settings.get("endpoint"), ...named })));
const span = provider.getTracer("old-page").startSpan("open old page", { attributes: { visits: 7 } });
span.end();
await provider.forceFlush();
document.title = `tr-${span.spanContext().traceId}`;
