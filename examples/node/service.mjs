// A traced HTTP service: `node service.mjs PORT STOCK_URL` answers GET /offers/{sku}, for which it asks the stock service of
// examples/go. It continues the trace that a request's `traceparent` names, and passes its own on (see README.md).

import { createServer } from "node:http";
import { context, diag, DiagConsoleLogger, DiagLogLevel, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [port, stockUrl] = process.argv.slice(2);
if (!stockUrl) {
  console.error("usage: node service.mjs PORT STOCK_URL");
  process.exit(2);
}

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN); // what the receiver rejects is logged
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })), // OTEL_SERVICE_NAME
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())], // OTEL_EXPORTER_OTLP_TRACES_*
});
provider.register(); // W3C Trace Context is what `propagation` then reads and writes
const tracer = trace.getTracer("offers", "1.0.0");

/** Runs `work` inside a span; an error ends up in the span and is thrown on. */
function traced(name, options, parent, work) {
  return tracer.startActiveSpan(name, options, parent, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** The server's span, whose parent is the caller's. Returns the status and the answer. */
function offer({ method, headers }, sku) {
  const attributes = { "http.request.method": method, "http.route": "/offers/{sku}", "offer.sku": sku };
  const caller = propagation.extract(context.active(), headers);
  return traced("GET /offers/{sku}", { kind: SpanKind.SERVER, attributes }, caller, async (span) => {
    const { left } = await askStock(sku);
    span.setAttribute("http.response.status_code", 200);
    return { sku, available: left > 0 };
  });
}

/** The client's span; the stock service's spans become its children. */
function askStock(sku) {
  const url = `${stockUrl}/stock/${encodeURIComponent(sku)}`;
  const options = { kind: SpanKind.CLIENT, attributes: { "http.request.method": "GET", "url.full": url } };
  return traced("GET", options, context.active(), async (span) => {
    const headers = {};
    propagation.inject(context.active(), headers);
    const response = await fetch(url, { headers });
    span.setAttribute("http.response.status_code", response.status);
    if (!response.ok) throw new Error(`the stock service answered ${response.status}`);
    return response.json();
  });
}

const server = createServer(async (request, response) => {
  const sku = request.url.match(/^\/offers\/([^/?]+)$/)?.[1];
  let [status, answer] = [404, { error: "not found" }];
  if (request.method === "GET" && sku) {
    try {
      [status, answer] = [200, await offer(request, decodeURIComponent(sku))];
    } catch (error) {
      [status, answer] = [502, { error: error.message }];
    }
  }
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
});
server.listen(Number(port), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    server.close(async () => {
      try {
        await provider.forceFlush();
      } catch (error) {
        console.error("the spans were not exported:", error);
        process.exitCode = 1;
      }
      await provider.shutdown();
    });
    server.closeIdleConnections();
  });
}
