import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.Scope;
import io.opentelemetry.context.propagation.TextMapGetter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import io.opentelemetry.sdk.trace.data.SpanData;
import io.opentelemetry.sdk.trace.export.SpanExporter;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Works off one message of a queue, as a traced program, and prints the id of its trace. How and where it sends the spans,
 * the standard OTEL_* variables say (see README.md).
 */
public final class OrderWorker {

  /** What stands where the environment says nothing: traces only, over HTTP. */
  private static final Map<String, String> DEFAULTS =
      Map.of(
          "otel.exporter.otlp.protocol", "http/protobuf",
          "otel.metrics.exporter", "none",
          "otel.logs.exporter", "none");

  private record Order(
      long id, String customer, double total, boolean gift, List<String> skus, List<Long> quantities) {}

  private final Tracer tracer;

  private OrderWorker(OpenTelemetry telemetry) {
    tracer = telemetry.tracerBuilder("order-worker").setInstrumentationVersion("1.0.0").build();
  }

  public static void main(String[] arguments) throws Exception {
    var watch = new Watch();
    OpenTelemetrySdk telemetry =
        AutoConfiguredOpenTelemetrySdk.builder()
            .addPropertiesSupplier(() -> DEFAULTS)
            .addSpanExporterCustomizer((exporter, config) -> watch.over(exporter))
            .build()
            .getOpenTelemetrySdk();
    var order = new Order(4711, "c-42", 129.9, false, List.of("mug", "tea"), List.of(1L, 2L));
    var headers = Map.of("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    System.out.println(new OrderWorker(telemetry).processOrder(order, headers));
    telemetry.getSdkTracerProvider().forceFlush().join(60, TimeUnit.SECONDS);
    if (watch.failed) {
      System.err.println("the spans were not exported"); // why, the SDK has logged
      System.exit(1);
    }
  }

  /** The root span. It links to the span that sent the message, which belongs to another trace. Returns the trace's id. */
  private String processOrder(Order order, Map<String, String> headers) throws InterruptedException {
    Context sender = W3CTraceContextPropagator.getInstance().extract(Context.root(), headers, HEADERS);
    Span span =
        tracer
            .spanBuilder("process order.created")
            .setSpanKind(SpanKind.CONSUMER)
            .addLink(
                Span.fromContext(sender).getSpanContext(),
                Attributes.of(AttributeKey.stringKey("messaging.message.id"), "m-1"))
            .setAttribute("messaging.destination.name", "order.created")
            .setAttribute("order.id", order.id)
            .setAttribute("order.total", order.total)
            .setAttribute("order.gift", order.gift)
            .setAttribute(AttributeKey.stringArrayKey("order.skus"), order.skus)
            .setAttribute(AttributeKey.longArrayKey("order.quantities"), order.quantities)
            .startSpan();
    try (Scope current = span.makeCurrent()) {
      loadCustomer(order.customer);
      try {
        charge(order.total);
      } catch (IllegalStateException declined) {
        span.addEvent(
            "order parked",
            Attributes.of(
                AttributeKey.longKey("retry.attempt"), 2L,
                AttributeKey.stringKey("retry.reason"), declined.getMessage()));
        span.setStatus(StatusCode.ERROR, "order " + order.id + " is parked");
      }
      return "tr-" + span.getSpanContext().getTraceId();
    } finally {
      span.end();
    }
  }

  private void loadCustomer(String id) throws InterruptedException {
    Span span =
        tracer
            .spanBuilder("SELECT customers")
            .setSpanKind(SpanKind.CLIENT)
            .setAttribute("db.system.name", "postgresql")
            .setAttribute("db.query.text", "SELECT * FROM customers WHERE id = $1")
            .setAttribute("db.query.parameter.0", id)
            .startSpan();
    try {
      Thread.sleep(20);
      span.setAttribute("db.response.returned_rows", 1);
      span.setStatus(StatusCode.OK);
    } finally {
      span.end();
    }
  }

  private void charge(double total) throws InterruptedException {
    Span span =
        tracer
            .spanBuilder("POST /v1/charges")
            .setSpanKind(SpanKind.CLIENT)
            .setAttribute("http.request.method", "POST")
            .setAttribute("server.address", "payments.example")
            .setAttribute("charge.total", total)
            .startSpan();
    try {
      Thread.sleep(40);
      span.setAttribute("http.response.status_code", 402);
      throw new IllegalStateException("card declined");
    } catch (IllegalStateException declined) {
      span.recordException(declined);
      span.setStatus(StatusCode.ERROR, declined.getMessage());
      throw declined;
    } finally {
      span.end();
    }
  }

  /** Remembers whether an export failed; `forceFlush()` does not say. */
  private static final class Watch {
    private volatile boolean failed;

    private SpanExporter over(SpanExporter exporter) {
      return new SpanExporter() {
        @Override
        public CompletableResultCode export(Collection<SpanData> spans) {
          CompletableResultCode result = exporter.export(spans);
          return result.whenComplete(() -> failed = failed || !result.isSuccess());
        }

        @Override
        public CompletableResultCode flush() {
          return exporter.flush();
        }

        @Override
        public CompletableResultCode shutdown() {
          return exporter.shutdown();
        }
      };
    }
  }

  private static final TextMapGetter<Map<String, String>> HEADERS =
      new TextMapGetter<>() {
        @Override
        public Iterable<String> keys(Map<String, String> headers) {
          return headers.keySet();
        }

        @Override
        public String get(Map<String, String> headers, String key) {
          return headers.get(key);
        }
      };
}
