"""Plain HTTP services: a checkout (Node) asks a fraud scorer (Python), which asks a model server (Java) and an LLM."""

import json
from dataclasses import dataclass
from random import Random

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from headrace.local.demo.spans import CLIENT, SERVER, Trace, fail

_SHARE_FAILED = 0.08
MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-4.1-mini")
CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald")
_SHOP, _SCORER, _MODEL = ("checkout", "nodejs"), ("fraud-scorer", "python"), ("model-server", "java")


@dataclass(frozen=True, slots=True)
class Checkout:
    """What differs from one trace to the next. The defaults are those of the one trace that `headrace demo` sends."""

    order: int = 4711
    items: int = 3
    euros: str = "129.90"
    score: float = 0.71
    model: str = "gpt-4o-mini"
    customer: str = "ada"
    slowness: float = 1.0
    """All durations are multiplied by it."""
    fails: bool = False
    """Whether the LLM gives no answer in time."""

    @classmethod
    def any(cls, random: Random) -> "Checkout":
        """One of many, some of which are slow or fail."""
        return cls(
            order=random.randrange(1_000, 10_000),
            items=random.randint(1, 9),
            euros=f"{random.lognormvariate(4.2, 0.8):.2f}",
            score=round(random.betavariate(2, 5), 2),
            model=random.choice(MODELS),
            customer=random.choice(CUSTOMERS),
            slowness=random.lognormvariate(-0.3, 0.4),
            fails=random.random() < _SHARE_FAILED,
        )

    def trace(self, now_unix_nano: int) -> Trace:
        """A trace that ends at this time: six spans, or five if it fails."""
        trace = Trace(now_unix_nano, 1_900, self.slowness)
        order = json.dumps({"order": self.order, "items": self.items, "total": f"{self.euros} EUR"})
        outcome = (
            {"status": "refused", "reason": "fraud check failed"} if self.fails else {"status": "paid", "fraud": "approve"}
        )
        root = trace.span(_SHOP, None, "POST /checkout", (0, 1_900), SERVER, url__path="/checkout", user__id=self.customer,
                          http__request__method="POST", http__response__status_code=503 if self.fails else 200,
                          mlflow__spanInputs=order, mlflow__spanOutputs=json.dumps(outcome))  # fmt: skip
        self._score(trace, root)
        if self.fails:
            root.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="fraud check failed"))
        else:
            trace.span(_SHOP, root, "POST /v1/charges", (1_600, 1_860), CLIENT, http__request__method="POST",
                       server__address="payments.example", http__response__status_code=201)  # fmt: skip
        return trace

    def _score(self, trace: Trace, root: Span) -> None:
        """The fraud scorer and what it asks."""
        score = trace.span(_SCORER, root, "score payment", (90, 1_580), SERVER, http__request__method="POST")
        question = f"Order {self.order}: {self.items} items, {self.euros} EUR, new device, GBM score {self.score}. Fraud?"
        verdict = json.dumps([{"role": "assistant", "content": "Likely legitimate: known address, usual basket. Approve."}])
        answer = {} if self.fails else {"gen_ai.usage.output_tokens": 18, "gen_ai.output.messages": verdict}
        llm = trace.span(_SCORER, score, f"chat {self.model}", (380, 1_540), CLIENT, gen_ai__operation__name="chat",
                         gen_ai__provider__name="openai", gen_ai__request__model=self.model, gen_ai__response__model=self.model,
                         gen_ai__usage__input_tokens=212,
                         gen_ai__input__messages=json.dumps([{"role": "user", "content": question}]), **answer)  # fmt: skip
        if self.fails:
            fail(llm, "TimeoutError", "no answer within 1 s")
        trace.span(_SCORER, score, "SELECT customer_features", (120, 290), CLIENT, db__system__name="postgresql",
                   db__query__text="SELECT * FROM customer_features WHERE customer_id = $1")  # fmt: skip
        path = "/v2/models/fraud-gbm/infer"
        trace.span(_MODEL, score, f"POST {path}", (310, 355), SERVER, http__request__method="POST", url__path=path,
                   http__response__status_code=200, ml__model__name="fraud-gbm", ml__model__version="14")  # fmt: skip
