"""An LLM agent: it remembers, retrieves, calls tools (one fails, one is slow), and answers. Tokens, a session and a user."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.local.demo.checkout import CUSTOMERS, MODELS
from headrace.local.demo.spans import CLIENT, INTERNAL, SERVER, Trace, fail

_AGENT, _ORDERS = ("support-agent", "python"), ("order-api", "java")
_TIMEOUT = "the address service did not answer within 1 s"


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a customer to the agent. The defaults are those of the trace that `headrace demo` sends."""

    order: int = 4711
    model: str = "gpt-4o-mini"
    customer: str = "ada"
    session: str = "support-4711"
    slowness: float = 1.0
    """All durations are multiplied by it."""
    fails: bool = True
    """Whether the first try to change the address fails, and the second is slow."""

    @classmethod
    def any(cls, random: Random) -> "Turn":
        """One of many."""
        order = random.randrange(1_000, 10_000)
        return cls(
            order=order,
            model=random.choice(MODELS),
            customer=random.choice(CUSTOMERS),
            session=f"support-{order // 50}",
            slowness=random.lognormvariate(-0.3, 0.4),
            fails=random.random() < 0.3,
        )

    @property
    def question(self) -> str:
        """What the customer asks."""
        return f"Where is my order {self.order}? And please send it to 12 Mill Lane instead."

    @property
    def answer(self) -> str:
        """What the agent says in the end."""
        return f"Order {self.order} leaves our warehouse tomorrow. I have changed its address to 12 Mill Lane."

    def trace(self, now_unix_nano: int) -> Trace:
        """A trace that ends at this time."""
        trace = Trace(now_unix_nano, 9_000, self.slowness)
        agent = trace.span(_AGENT, None, "invoke_agent support", (0, 9_000), gen_ai__operation__name="invoke_agent",
                           gen_ai__agent__name="support", gen_ai__conversation__id=self.session, user__id=self.customer,
                           gen_ai__input__messages=_messages("user", self.question),
                           gen_ai__output__messages=_messages("assistant", self.answer))  # fmt: skip
        self._remember(trace, agent)
        tools = [
            _call("get_order", {"order": self.order}),
            _call("change_address", {"order": self.order, "to": "12 Mill Lane"}),
        ]
        self._chat(trace, agent, (700, 1_900), [{"role": "user", "content": self.question}],
                   {"role": "assistant", "tool_calls": tools}, (486, 52))  # fmt: skip
        self._act(trace, agent)
        said = [{"role": "user", "content": self.question}, {"role": "assistant", "tool_calls": tools},
                {"role": "tool", "tool_call_id": "call_get_order", "content": self._found},
                {"role": "tool", "tool_call_id": "call_change_address", "content": "changed"}]  # fmt: skip
        self._chat(trace, agent, (7_500, 8_700), said, {"role": "assistant", "content": self.answer}, (641, 38))
        self._operation(
            trace, agent, "update_memory", (8_720, 8_900), {"user": self.customer, "address": "12 Mill Lane"}, "kept"
        )
        return trace

    @property
    def _found(self) -> str:
        return json.dumps({"order": self.order, "state": "packed", "leaves": "tomorrow"})

    def _remember(self, trace: Trace, agent: Span) -> None:
        """Memory and retrieval."""
        known = [f"{self.customer} prefers short answers"]
        self._operation(trace, agent, "search_memory", (40, 180), {"user": self.customer}, known)
        documents = [{"id": "policy-17", "score": 0.83, "content": "An address can be changed until an order has left."},
                     {"id": "policy-4", "score": 0.61, "content": "Orders leave the warehouse on working days."}]  # fmt: skip
        trace.span(_AGENT, agent, "retrieval shop-policies", (200, 640), CLIENT, gen_ai__operation__name="retrieval",
                   gen_ai__data_source__id="shop-policies", gen_ai__retrieval__query__text=self.question,
                   gen_ai__retrieval__documents=json.dumps(documents))  # fmt: skip

    def _act(self, trace: Trace, agent: Span) -> None:
        """The tools: one asks another service; one fails at first, and takes long when it is tried again."""
        tool = self._tool(trace, agent, "get_order", (1_950, 2_400), {"order": self.order}, self._found)
        path = f"/orders/{self.order}"
        call = trace.span(_AGENT, tool, "GET", (1_970, 2_380), CLIENT, http__request__method="GET", url__path=path,
                          server__address="order-api", http__response__status_code=200)  # fmt: skip
        served = trace.span(_ORDERS, call, "GET /orders/{id}", (1_990, 2_360), SERVER, http__request__method="GET",
                            http__route="/orders/{id}", url__path=path, http__response__status_code=200)  # fmt: skip
        trace.span(_ORDERS, served, "SELECT orders", (2_020, 2_300), CLIENT, db__system__name="postgresql",
                   db__query__text="SELECT state, leaves FROM orders WHERE id = $1")  # fmt: skip
        wish = {"order": self.order, "to": "12 Mill Lane"}
        if self.fails:
            fail(self._tool(trace, agent, "change_address", (2_450, 3_450), wish, ""), "TimeoutError", _TIMEOUT)
        self._tool(trace, agent, "change_address", (3_500, 7_400 if self.fails else 3_900), wish, "changed")

    def _tool(self, trace: Trace, agent: Span, name: str, times: tuple[int, int], arguments: Any, result: str) -> Span:
        given: dict[str, Any] = {"gen_ai.tool.call.result": result} if result else {}
        return trace.span(_AGENT, agent, f"execute_tool {name}", times, gen_ai__operation__name="execute_tool",
                          gen_ai__tool__name=name, gen_ai__tool__call__id=f"call_{name}",
                          gen_ai__tool__call__arguments=json.dumps(arguments), **given)  # fmt: skip

    def _chat(
        self, trace: Trace, agent: Span, times: tuple[int, int], asked: list[Any], answered: Any, tokens: tuple[int, int]
    ) -> None:
        trace.span(_AGENT, agent, f"chat {self.model}", times, CLIENT, gen_ai__operation__name="chat",
                   gen_ai__provider__name="openai", gen_ai__request__model=self.model, gen_ai__response__model=self.model,
                   gen_ai__usage__input_tokens=tokens[0], gen_ai__usage__output_tokens=tokens[1],
                   gen_ai__input__messages=json.dumps(asked), gen_ai__output__messages=json.dumps([answered]))  # fmt: skip

    def _operation(self, trace: Trace, agent: Span, name: str, times: tuple[int, int], asked: Any, answered: Any) -> None:
        trace.span(_AGENT, agent, name, times, INTERNAL, gen_ai__operation__name=name, mlflow__spanType="MEMORY",
                   mlflow__spanInputs=json.dumps(asked), mlflow__spanOutputs=json.dumps(answered))  # fmt: skip


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _call(name: str, arguments: Any) -> Any:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
