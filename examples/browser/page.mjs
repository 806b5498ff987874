// A page that traces what its visitor does, and sends the spans to Headrace itself, from an origin of its own (see README.md).

import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, WebTracerProvider } from "@opentelemetry/sdk-trace-web";

const settings = new URLSearchParams(location.search);
const exporter = new OTLPTraceExporter({
  url: settings.get("endpoint") ?? "http://localhost:4318/v1/traces",
  headers: {
    "x-mlflow-experiment-id": settings.get("experiment") ?? "0",
    ...(settings.has("key") && { authorization: `Bearer ${settings.get("key")}` }), // where Headrace asks for one
  },
});
const provider = new WebTracerProvider({
  resource: defaultResource().merge(resourceFromAttributes({ "service.name": "checkout-page" })),
  spanProcessors: [new BatchSpanProcessor(exporter)], // sends every five seconds, and when the visitor leaves
});
provider.register(); // W3C Trace Context is what `propagation` then writes
const tracer = trace.getTracer("checkout-page", "1.0.0");

/** Runs `work` inside a span below `parent`; an error ends up in the span and is thrown on. */
async function traced(name, options, parent, work) {
  const span = tracer.startSpan(name, options, parent);
  try {
    return await work(span, trace.setSpan(parent, span));
  } catch (error) {
    span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    throw error;
  } finally {
    span.end();
  }
}

/** Asks for a file of the page's own server, which may go on with the trace. */
function load(path, parent) {
  const options = { kind: SpanKind.CLIENT, attributes: { "http.request.method": "GET", "url.path": path } };
  return traced(`GET ${path}`, options, parent, async (span, here) => {
    const headers = {};
    propagation.inject(here, headers);
    const answer = await fetch(path, { headers });
    span.setAttribute("http.response.status_code", answer.status);
    return answer.json();
  });
}

/** What a click does: the root span, a request, and a card that is declined. Returns the trace id in MLflow's spelling. */
function pay() {
  return traced("click Pay", { attributes: { "url.path": location.pathname } }, context.active(), async (span, here) => {
    const cart = await load("/cart.json", here);
    span.setAttributes({ "cart.skus": cart.skus, "cart.total": cart.total, "cart.gift": false, "cart.items": cart.skus.length });
    try {
      await traced("check the card", { attributes: { "charge.total": cart.total } }, here, () => {
        throw new Error("card declined");
      });
    } catch (error) {
      span.addEvent("ask for another card", { attempt: 1, reason: error.message });
    }
    return `tr-${span.spanContext().traceId}`;
  });
}

tracer.startSpan("open page", { startTime: performance.timeOrigin, attributes: { "url.path": location.pathname } }).end();

const show = (id, text) => (document.getElementById(id).textContent = text);
document.querySelector("button").addEventListener("click", async () => {
  show("spans", "…");
  show("trace", await pay());
  try {
    await provider.forceFlush();
    show("spans", "sent");
  } catch (error) {
    console.error(error);
    show("spans", `not sent: ${error}`);
  }
});
