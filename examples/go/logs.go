package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

// Discards all records until startLogs has set up the bridge.
var logger = slog.New(slog.DiscardHandler)

// With OTEL_LOGS_EXPORTER=otlp, what `log/slog` logs within a span goes to Headrace as well, and becomes a part of that span.
// Returns what sends the records that wait.
func startLogs(ctx context.Context) (flush func(context.Context) error, err error) {
	if os.Getenv("OTEL_LOGS_EXPORTER") != "otlp" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := newLogExporter(ctx)
	if err != nil {
		return nil, err
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	logger = slog.New(otelslog.NewHandler("order-worker", otelslog.WithLoggerProvider(provider), otelslog.WithVersion("1.0.0")))
	return provider.Shutdown, nil
}

func newLogExporter(ctx context.Context) (sdklog.Exporter, error) {
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	switch protocol {
	case "http/protobuf":
		return otlploghttp.New(ctx)
	case "grpc":
		return otlploggrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is %q; the exporters for Go know http/protobuf and grpc", protocol)
}
