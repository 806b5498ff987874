"""A machine learning pipeline over several services: ingest → features → training → evaluation → registration → deployment."""

import json
from dataclasses import dataclass
from random import Random

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.local.demo.spans import CLIENT, SERVER, Trace, attribute, fail, resource

_ORCHESTRATOR, _INGEST, _FEATURES = ("orchestrator", "python"), ("ingest", "java"), ("feature-store", "go")
_TRAINER, _EVALUATOR, _REGISTRY, _SERVING = (
    ("trainer", "python"),
    ("evaluator", "python"),
    ("model-registry", "python"),
    ("serving", "rust"),
)
_EPOCHS, _GOAL = 5, 0.8


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What differs from one training to the next. The defaults are those of the trace that `headrace demo` sends."""

    rows: int = 48_000
    version: int = 7
    accuracy: float = 0.91
    slowness: float = 1.0
    """All durations are multiplied by it."""

    @classmethod
    def any(cls, random: Random) -> "Pipeline":
        """One of many. Some models are not good enough, and are not deployed."""
        accuracy = round(min(0.99, random.normalvariate(0.88, 0.06)), 3)
        return cls(random.randrange(20_000, 90_000), random.randrange(2, 200), accuracy, random.lognormvariate(-0.3, 0.4))

    def trace(self, now_unix_nano: int) -> Trace:
        """A trace that ends at this time."""
        trace = Trace(now_unix_nano, 20_000, self.slowness)
        good = self.accuracy >= _GOAL
        outcome = {"accuracy": self.accuracy, "version": self.version} if good else {"accuracy": self.accuracy}
        root = trace.span(_ORCHESTRATOR, None, "train churn", (0, 20_000 if good else 17_200), mlflow__spanType="WORKFLOW",
                          mlflow__spanInputs=json.dumps({"rows": self.rows, "epochs": _EPOCHS}),
                          mlflow__spanOutputs=json.dumps(outcome))  # fmt: skip
        self._prepare(trace, root)
        self._train(trace, root)
        evaluation = trace.span(_EVALUATOR, root, "evaluation", (15_600, 17_100), SERVER, rows=self.rows // 5,
                                accuracy=self.accuracy)  # fmt: skip
        if good:
            self._deploy(trace, root)
        else:
            for span in (evaluation, root):
                fail(span, "NotGoodEnough", f"accuracy {self.accuracy} is below {_GOAL}")
        return trace

    def _prepare(self, trace: Trace, root: Span) -> None:
        ingest = trace.span(_INGEST, root, "ingest", (100, 3_100), SERVER, rows=self.rows)
        trace.span(_INGEST, ingest, "SELECT customers", (150, 2_200), CLIENT, db__system__name="postgresql",
                   db__query__text="SELECT * FROM customers WHERE month = $1")  # fmt: skip
        trace.span(_INGEST, ingest, "PUT lake/customers.parquet", (2_250, 3_050), CLIENT, http__request__method="PUT",
                   server__address="lake.example", http__response__status_code=200)  # fmt: skip
        features = trace.span(_FEATURES, root, "features", (3_200, 5_400), SERVER, features=24)
        trace.span(_FEATURES, features, "join complaints", (3_250, 4_700), rows=self.rows)
        trace.span(_FEATURES, features, "HSET churn_features", (4_750, 5_350), CLIENT, db__system__name="redis")

    def _train(self, trace: Trace, root: Span) -> None:
        training = trace.span(_TRAINER, root, "training", (5_500, 15_500), SERVER, model__name="churn", epochs=_EPOCHS)
        for epoch in range(1, _EPOCHS + 1):
            begin = 5_550 + (epoch - 1) * 1_980
            loss, accuracy, _ = self.learned(epoch)
            trace.span(_TRAINER, training, f"epoch {epoch}", (begin, begin + 1_950), epoch=epoch, loss=loss, accuracy=accuracy)

    def _deploy(self, trace: Trace, root: Span) -> None:
        trace.span(_REGISTRY, root, "registration", (17_200, 17_700), SERVER, model__name="churn", model__version=self.version)
        deployment = trace.span(_ORCHESTRATOR, root, "deployment", (17_800, 19_950), model__version=self.version)
        path = "/v2/repository/models/churn/load"
        loading = trace.span(_SERVING, deployment, f"POST {path}", (17_850, 19_700), SERVER, http__request__method="POST",
                             url__path=path, http__response__status_code=200)  # fmt: skip
        loading.events.add(name="traffic switched", time_unix_nano=loading.end_time_unix_nano,
                           attributes=[attribute("percent", 100)])  # fmt: skip

    def learned(self, epoch: int) -> tuple[float, float, float]:
        """Loss, accuracy and learning rate after an epoch, counted from 1."""
        left = 0.55**epoch
        return round(0.15 + left, 4), round(self.accuracy - (self.accuracy - 0.5) * left, 4), round(0.1 * 0.9**epoch, 4)

    def metrics(self, end_unix_nano: int) -> ExportMetricsServiceRequest:
        """What the trainer measured in each epoch: gauges, as an SDK exports them. The last epoch ends at this time."""
        names = ("loss", "accuracy", "learning_rate")
        points: dict[str, list[NumberDataPoint]] = {name: [] for name in names}
        for epoch in range(1, _EPOCHS + 1):
            time = end_unix_nano - (_EPOCHS - epoch) * 1_980_000_000
            for name, value in zip(names, self.learned(epoch), strict=True):
                said = [attribute("epoch", epoch)]
                points[name].append(NumberDataPoint(as_double=value, time_unix_nano=time, attributes=said))
        metrics = [Metric(name=name, gauge=Gauge(data_points=points[name])) for name in names]
        of_service = ResourceMetrics(resource=resource(*_TRAINER), scope_metrics=[ScopeMetrics(metrics=metrics)])
        return ExportMetricsServiceRequest(resource_metrics=[of_service])
