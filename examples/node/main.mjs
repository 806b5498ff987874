// Works off one message of a queue, as a traced program, and prints the id of its trace. `node main.mjs proto|json|grpc`
// chooses the exporter; where it sends the spans, the standard OTEL_* variables say (see README.md).

import { setTimeout as sleep } from "node:timers/promises";
import { diag, DiagConsoleLogger, DiagLogLevel, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtoExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const exporters = { proto: ProtoExporter, json: JsonExporter, grpc: GrpcExporter };
const Exporter = exporters[process.argv[2] ?? "proto"];
if (!Exporter) {
  console.error("usage: node main.mjs [proto|json|grpc]");
  process.exit(2);
}

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN); // what the receiver rejects is logged
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(detectResources({ detectors: [envDetector] })), // OTEL_SERVICE_NAME
  spanProcessors: [new BatchSpanProcessor(new Exporter())], // OTEL_EXPORTER_OTLP_TRACES_*
});
provider.register();
const tracer = trace.getTracer("order-worker", "1.0.0");

/** Runs `work` inside a span; an error ends up in the span and is thrown on. */
function traced(name, options, work) {
  return tracer.startActiveSpan(name, options, async (span) => {
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

/** The root span. It links to the span that sent the message, which belongs to another trace. Returns the trace id. */
async function processOrder({ headers, order }) {
  const sender = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, headers));
  const options = {
    kind: SpanKind.CONSUMER,
    links: [{ context: sender, attributes: { "messaging.message.id": "m-1" } }],
    attributes: {
      "messaging.destination.name": "order.created",
      "order.id": order.id,
      "order.total": order.total,
      "order.gift": order.gift,
      "order.skus": order.skus,
      "order.quantities": order.quantities,
    },
  };
  return traced("process order.created", options, async (span) => {
    await loadCustomer(order.customer);
    try {
      await charge(order.total);
    } catch (error) {
      span.addEvent("order parked", { "retry.attempt": 2, "retry.reason": error.message });
      span.setStatus({ code: SpanStatusCode.ERROR, message: `order ${order.id} is parked` });
    }
    return `tr-${span.spanContext().traceId}`;
  });
}

function loadCustomer(id) {
  const attributes = { "db.system.name": "postgresql", "db.query.text": "SELECT * FROM customers WHERE id = $1" };
  return traced("SELECT customers", { kind: SpanKind.CLIENT, attributes }, async (span) => {
    await sleep(20);
    span.setAttribute("db.response.returned_rows", 1);
    span.setStatus({ code: SpanStatusCode.OK });
    return { id };
  });
}

function charge(total) {
  const attributes = { "http.request.method": "POST", "server.address": "payments.example", "charge.total": total };
  return traced("POST /v1/charges", { kind: SpanKind.CLIENT, attributes }, async (span) => {
    await sleep(40);
    span.setAttribute("http.response.status_code", 402);
    throw new Error("card declined");
  });
}

const message = {
  headers: { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" },
  order: { id: 4711, customer: "c-42", total: 129.9, gift: false, skus: ["mug", "tea"], quantities: [1, 2] },
};
console.log(await processOrder(message));
try {
  await provider.forceFlush();
} catch (error) {
  console.error("the spans were not exported:", error);
  process.exitCode = 1;
}
await provider.shutdown();
