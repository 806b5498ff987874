"""Data points that cannot become metrics of a run are taken out, in words; those that can are queued as they came."""

import asyncio
from collections.abc import Sequence
from typing import Any

import metrics as build
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m

from headrace.config import load
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import Sender
from headrace.errors import UnknownRun
from headrace.otlp.readable import ReadableHolder
from headrace.otlp.signals import METRICS
from headrace.pipeline import Pipeline, Steps, processors
from headrace.processor.authorize import Authorizer, Fate
from headrace.processor.points import COMPUTED, Points, run_of
from headrace.processor.verdict import METRIC_REASONS, REASONS_OF, REPAIRS, WARNINGS, Verdict
from headrace.telemetry.records import COUNTERS, REJECTED, REPAIRED
from unit.test_pipeline import QueueInMemory

RUN = "a" * 32


class KnownRuns:
    """A `Resolver` that knows every run but one."""

    async def resolve(self, resources: Sequence[ReadableHolder], sender: Sender) -> Sequence[Fate]:
        """See `Resolver`."""
        named = [sender.headers.get("x-mlflow-run-id") or run_of(each)["mlflow.run_id"] for each in resources]
        return [UnknownRun("MLflow has no run 'gone'.") if run == "gone" else pb.Destination(run_id=run) for run in named]

    def is_deleted(self, destination: pb.Destination) -> bool:
        """See `Resolver`."""
        return False


def consume(
    message: ExportMetricsServiceRequest, headers: dict[str, str] | None = None, most: int = 100
) -> tuple[Verdict, list[Delivery[Any]]]:
    """What is told of a request, and what is queued of it."""
    queue = QueueInMemory()
    steps = {METRICS: Steps((Points(most),), Authorizer(KnownRuns()))}
    verdict = asyncio.run(Pipeline(steps, queue).consume(build.sent(message, headers)))
    return verdict, [Delivery.from_envelope(envelope) for envelope in queue.envelopes]


def names(delivery: Delivery[Any]) -> list[str]:
    return [metric.name for resource in delivery.request.resource_metrics for metric in METRICS.form.items_of(resource)]


@pytest.mark.parametrize(
    ("headers", "attributes"),
    [({"x-mlflow-run-id": RUN}, {}), ({}, {"mlflow_run_id": RUN}), ({"x-mlflow-run-id": RUN}, {"a": 1})],
)
def test_what_names_a_run_is_queued_as_it_came(headers: dict[str, str], attributes: dict[str, Any]) -> None:
    message = build.request(build.gauge("loss", 0.5), build.histogram("h", [1], []), **attributes)
    verdict, (queued,) = consume(message, headers)
    assert (verdict.received, verdict.accepted, verdict.explain()) == (2, 2, "")
    assert queued.signal is METRICS
    assert queued.request == message
    assert [each.run_id for each in queued.destinations] == [RUN]


def test_without_a_run_it_is_told_in_words_and_no_error() -> None:
    verdict, queued = consume(build.request(build.gauge("loss", 0.5)))
    assert not queued
    assert "1 of 1 data points rejected: its resource names no MLflow run: set the header x-mlflow-run-id" in verdict.explain()
    assert "OTEL_METRICS_EXPORTER=none" in verdict.explain()


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_what_mlflow_computes_itself_has_its_own_sentence(name: str) -> None:
    verdict, queued = consume(build.request(build.histogram(name, [1], [])))
    assert not queued
    assert "MLflow computes this metric itself from the traces" in verdict.explain()
    assert len(consume(build.request(build.histogram(name, [1], []), mlflow_run_id=RUN))[1]) == 1


def test_only_the_resource_without_a_run_is_taken_out() -> None:
    message = build.request(build.gauge("kept", 1.0), mlflow_run_id=RUN)
    message.resource_metrics.append(build.resource(build.gauge("lost", 1.0)))
    verdict, (queued,) = consume(message)
    assert (verdict.rejected, names(queued)) == ({"no_run": 1}, ["kept"])


def test_an_unknown_run_is_told_and_costs_no_other() -> None:
    message = build.request(build.gauge("kept", 1.0), mlflow_run_id=RUN)
    message.resource_metrics.append(build.resource(build.gauge("lost", 1.0, 2.0), mlflow_run_id="gone"))
    verdict, (queued,) = consume(message)
    assert (verdict.rejected, names(queued)) == ({"unknown_run": 2}, ["kept"])
    assert "MLflow has no run 'gone'" in verdict.explain()
    with pytest.raises(UnknownRun):
        consume(build.request(build.gauge("lost", 1.0), mlflow_run_id="gone"))


def test_a_point_without_a_value_is_told_unless_it_says_so() -> None:
    empty = m.Metric(name="a", gauge=m.Gauge(data_points=[m.NumberDataPoint(), m.NumberDataPoint(flags=1), build.number(1)]))
    verdict, (queued,) = consume(build.request(empty, mlflow_run_id=RUN))
    assert verdict.rejected == {"no_value": 1}
    assert METRICS.form.count(queued.request) == 2


def test_a_request_becomes_only_so_many_values() -> None:
    message = build.request(build.gauge("a", *map(float, range(4))), build.histogram("h", [1], []), mlflow_run_id=RUN)
    message.resource_metrics[0].scope_metrics[0].metrics.append(build.gauge("b", 1.0))
    verdict, (queued,) = consume(message, most=10)
    assert verdict.rejected == {"too_many_points": 1}
    assert names(queued) == ["a", "b"]  # a smaller one may fit although a larger one did not
    assert "HEADRACE_MAX_POINTS_PER_REQUEST" in verdict.explain()


def test_what_is_empty_is_fine_and_not_queued() -> None:
    for message in (ExportMetricsServiceRequest(), build.request(m.Metric(name="no data")), build.request()):
        verdict, queued = consume(message, {"x-mlflow-run-id": RUN})
        assert (verdict.received, verdict.explain(), queued) == (0, "", [])


def test_what_was_let_pass_once_passes_as_it_is() -> None:
    message = build.request(build.gauge("a", 1.0, 2.0), m.Metric(name="no data"), mlflow_run_id=RUN)
    message.resource_metrics.append(build.resource(build.gauge("lost", 1.0)))
    request = build.sent(message)
    once = Points(10).process(request, Verdict.of(request)).message
    again = build.sent(once)
    verdict = Verdict.of(again)
    assert Points(10).process(again, verdict).original is not None
    assert not verdict.rejected


def test_everything_is_counted_once() -> None:
    counters = COUNTERS["metrics"]
    before = [counters.received._value.get(), counters.accepted._value.get(), counters.rejected("no_run")._value.get()]
    message = build.request(build.gauge("kept", 1.0, 2.0), mlflow_run_id=RUN)
    message.resource_metrics.append(build.resource(build.gauge("lost", 1.0)))
    consume(message)
    after = [counters.received._value.get(), counters.accepted._value.get(), counters.rejected("no_run")._value.get()]
    assert [later - sooner for later, sooner in zip(after, before, strict=True)] == [3, 2, 1]


def test_every_reason_has_a_counter() -> None:
    for signal, reasons in REASONS_OF.items():
        if signal.name in REJECTED:
            assert set(REJECTED[signal.name]) == reasons.keys()
            assert {*REPAIRS, *WARNINGS} & set(REPAIRED[signal.name])


def test_all_that_is_ever_said_together_is_bounded() -> None:
    verdict = Verdict(2**63, signal=METRICS)
    for reason in METRIC_REASONS:
        verdict.reject(reason, 2**40)
    assert len(verdict.explain()) <= 2000


def test_what_names_no_run_passes_where_it_is_passed_on() -> None:
    empty = m.Metric(name="empty", gauge=m.Gauge(data_points=[m.NumberDataPoint()]))
    request = build.sent(build.request(build.gauge("a", 1.0), build.gauge(min(COMPUTED), 2.0), empty))
    verdict = Verdict.of(request)
    kept = Points(10, forwards=True).process(request, verdict)
    assert verdict.rejected == {"no_value": 1}
    assert METRICS.form.count(kept.message) == 2
    assert processors(load(metrics_forward="http://somewhere"))[METRICS] == (Points(50_000, forwards=True),)


def test_the_settings_decide() -> None:
    (points,) = processors(load(max_points_per_request=1000))[METRICS]
    assert points == Points(1000)
