// Works off one message of a queue, as a traced program, and prints the id of its trace. With `serve PORT` it is an HTTP
// service instead (stock.go). How and where it sends the spans, the standard OTEL_* variables say (see README.md).
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

var tracer = otel.Tracer("order-worker", trace.WithInstrumentationVersion("1.0.0"))

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	exporter, err := newExporter(ctx)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter)) // reads OTEL_SERVICE_NAME
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer provider.Shutdown(ctx)
	flushLogs, err := startLogs(ctx)
	if err != nil {
		return err
	}

	switch {
	case len(arguments) == 0:
		fmt.Println(processOrder(ctx, message))
	case len(arguments) == 2 && arguments[0] == "serve":
		err = serve(ctx, arguments[1])
	default:
		return errors.New("usage: order-worker [serve PORT]")
	}
	if flushed := provider.ForceFlush(ctx); flushed != nil {
		err = errors.Join(err, fmt.Errorf("the spans were not exported: %w", flushed))
	}
	if flushed := flushLogs(ctx); flushed != nil {
		err = errors.Join(err, fmt.Errorf("the log records were not exported: %w", flushed))
	}
	return err
}

// The exporters read OTEL_EXPORTER_OTLP_* themselves, all but the protocol, which chooses between them.
func newExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	switch protocol {
	case "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is %q; the exporters for Go know http/protobuf and grpc", protocol)
}

type order struct {
	id         int
	customer   string
	total      float64
	gift       bool
	skus       []string
	quantities []int
	headers    propagation.MapCarrier
}

var message = order{
	id: 4711, customer: "c-42", total: 129.9, gift: false, skus: []string{"mug", "tea"}, quantities: []int{1, 2},
	headers: propagation.MapCarrier{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
}

// The root span. It links to the span that sent the message, which belongs to another trace. Returns the trace's id.
func processOrder(ctx context.Context, order order) string {
	sender := otel.GetTextMapPropagator().Extract(context.Background(), order.headers)
	ctx, span := tracer.Start(ctx, "process order.created",
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.LinkFromContext(sender, attribute.String("messaging.message.id", "m-1"))),
		trace.WithAttributes(
			attribute.String("messaging.destination.name", "order.created"),
			attribute.Int("order.id", order.id),
			attribute.Float64("order.total", order.total),
			attribute.Bool("order.gift", order.gift),
			attribute.StringSlice("order.skus", order.skus),
			attribute.IntSlice("order.quantities", order.quantities),
		))
	defer span.End()

	logger.InfoContext(ctx, "order received", "order.id", order.id, "items", len(order.skus))
	loadCustomer(ctx, order.customer)
	if err := charge(ctx, order.total); err != nil {
		logger.ErrorContext(ctx, "order is parked", "reason", err.Error())
		span.AddEvent("order parked", trace.WithAttributes(
			attribute.Int("retry.attempt", 2), attribute.String("retry.reason", err.Error())))
		span.SetStatus(codes.Error, fmt.Sprintf("order %d is parked", order.id))
	}
	return "tr-" + span.SpanContext().TraceID().String()
}

func loadCustomer(ctx context.Context, id string) {
	_, span := tracer.Start(ctx, "SELECT customers", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("db.system.name", "postgresql"),
		attribute.String("db.query.text", "SELECT * FROM customers WHERE id = $1"),
		attribute.String("db.query.parameter.0", id)))
	defer span.End()
	time.Sleep(20 * time.Millisecond)
	span.SetAttributes(attribute.Int("db.response.returned_rows", 1))
	span.SetStatus(codes.Ok, "")
}

func charge(ctx context.Context, total float64) error {
	ctx, span := tracer.Start(ctx, "POST /v1/charges", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", "POST"),
		attribute.String("server.address", "payments.example"),
		attribute.Float64("charge.total", total)))
	defer span.End()
	time.Sleep(40 * time.Millisecond)
	err := errors.New("card declined")
	logger.WarnContext(ctx, "the payment provider declines", "provider", slog.GroupValue(slog.String("name", "payments.example"), slog.Int("status", 402)))
	span.SetAttributes(attribute.Int("http.response.status_code", 402))
	span.RecordError(err, trace.WithStackTrace(true))
	span.SetStatus(codes.Error, err.Error())
	return err
}
