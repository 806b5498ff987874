//! Works off one message of a queue, as a traced program, and prints the id of its trace. How and where it sends the spans,
//! the standard OTEL_* variables say (see README.md).

use std::collections::HashMap;
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

struct Order {
    id: i64,
    customer: &'static str,
    total: f64,
    gift: bool,
    skus: Vec<&'static str>,
    quantities: Vec<i64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    // The SDK's own log, to stderr: what the receiver rejects is a warning, its whole answer needs RUST_LOG=debug.
    let level = std::env::var("RUST_LOG").unwrap_or("warn".into());
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(log.with_filter(level.parse::<Targets>()?))
        .init();

    // gRPC needs a runtime of tokio while the exporter is built and while it sends; HTTP needs none.
    let runtime = tokio::runtime::Runtime::new()?;
    let guard = runtime.enter();
    let exporter = SpanExporter::builder().build()?; // OTEL_EXPORTER_OTLP_TRACES_*, the protocol included
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .build(); // reads OTEL_SERVICE_NAME
    drop(guard);

    let scope = InstrumentationScope::builder("order-worker")
        .with_version("1.0.0")
        .build();
    let tracer = provider.tracer_with_scope(scope);
    let order = Order {
        id: 4711,
        customer: "c-42",
        total: 129.9,
        gift: false,
        skus: vec!["mug", "tea"],
        quantities: vec![1, 2],
    };
    let headers = HashMap::from([(
        "traceparent".to_string(),
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_string(),
    )]);
    println!("{}", process_order(&tracer, &order, &headers));

    provider
        .force_flush()
        .map_err(|error| format!("the spans were not exported: {error}"))?;
    provider.shutdown()?;
    Ok(())
}

/// The root span. It links to the span that sent the message, which belongs to another trace. Returns the trace's id.
fn process_order(tracer: &SdkTracer, order: &Order, headers: &HashMap<String, String>) -> String {
    let sender = TraceContextPropagator::new().extract(headers);
    let skus = order
        .skus
        .iter()
        .map(|sku| StringValue::from(*sku))
        .collect();
    let mut span = tracer
        .span_builder("process order.created")
        .with_kind(SpanKind::Consumer)
        .with_attributes([
            KeyValue::new("messaging.destination.name", "order.created"),
            KeyValue::new("order.id", order.id),
            KeyValue::new("order.total", order.total),
            KeyValue::new("order.gift", order.gift),
            KeyValue::new("order.skus", Value::Array(Array::String(skus))),
            KeyValue::new(
                "order.quantities",
                Value::Array(Array::I64(order.quantities.clone())),
            ),
        ])
        .start(tracer);
    span.add_link(
        sender.span().span_context().clone(),
        vec![KeyValue::new("messaging.message.id", "m-1")],
    );
    let trace_id = span.span_context().trace_id();

    let context = Context::current_with_span(span);
    load_customer(tracer, &context, order.customer);
    if let Err(declined) = charge(tracer, &context, order.total) {
        let attributes = vec![
            KeyValue::new("retry.attempt", 2),
            KeyValue::new("retry.reason", declined.to_string()),
        ];
        context.span().add_event("order parked", attributes);
        context
            .span()
            .set_status(Status::error(format!("order {} is parked", order.id)));
    }
    context.span().end();
    format!("tr-{trace_id}")
}

fn load_customer(tracer: &SdkTracer, parent: &Context, id: &'static str) {
    let mut span = tracer
        .span_builder("SELECT customers")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.query.text", "SELECT * FROM customers WHERE id = $1"),
            KeyValue::new("db.query.parameter.0", id),
        ])
        .start_with_context(tracer, parent);
    sleep(Duration::from_millis(20));
    span.set_attribute(KeyValue::new("db.response.returned_rows", 1));
    span.set_status(Status::Ok);
    span.end();
}

fn charge(tracer: &SdkTracer, parent: &Context, total: f64) -> Result<(), Box<dyn Error>> {
    let mut span = tracer
        .span_builder("POST /v1/charges")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("server.address", "payments.example"),
            KeyValue::new("charge.total", total),
        ])
        .start_with_context(tracer, parent);
    sleep(Duration::from_millis(40));
    let declined: Box<dyn Error> = "card declined".into();
    span.set_attribute(KeyValue::new("http.response.status_code", 402));
    span.record_error(declined.as_ref());
    span.set_status(Status::error(declined.to_string()));
    span.end();
    Err(declined)
}
