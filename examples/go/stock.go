package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

var stock = map[string]int{"mug": 3, "tea": 0}

// Answers GET /stock/{sku} until SIGTERM or Ctrl-C. otelhttp continues the trace that a request's `traceparent` names.
func serve(ctx context.Context, port string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	routes := http.NewServeMux()
	routes.HandleFunc("GET /stock/{sku}", answer)
	server := &http.Server{Handler: otelhttp.NewHandler(routes, "request")}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Shutdown(context.Background()) // once the requests under way are answered
	}
}

func answer(writer http.ResponseWriter, request *http.Request) {
	sku := request.PathValue("sku")
	left, known := lookUp(request.Context(), sku)
	writer.Header().Set("Content-Type", "application/json")
	if !known {
		writer.WriteHeader(http.StatusNotFound)
	}
	json.NewEncoder(writer).Encode(map[string]any{"sku": sku, "left": left})
}

func lookUp(ctx context.Context, sku string) (left int, known bool) {
	_, span := tracer.Start(ctx, "look up stock", trace.WithAttributes(attribute.String("stock.sku", sku)))
	defer span.End()
	left, known = stock[sku]
	span.SetAttributes(attribute.Int("stock.left", left))
	return left, known
}
