"""What is measured in which order, and about how long it takes."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bench.lab import Lab
from bench.load import Plan
from bench.roads import Measurement, copy, measure
from bench.servers import processes
from bench.shapes import SHAPES
from bench.witness import witness

SIDE_BY_SIDE = "Side by side"
HALF = "Headrace at half of its saturated rate"
PROCESSES = "One to four processes on one Postgres"
TELEMETRYGEN = "telemetrygen, ten spans a trace, each in a request of its own"
_OPEN_LOOP_CONNECTIONS = 64  # so many that a late answer does not keep the next request from being sent
_AROUND = {"mlflow": 20.0, "headrace": 12.0, "copy": 2.0}
"""Seconds on an idle machine of two cores: start, warm-up, check and stop."""


class Step(NamedTuple):
    """What belongs together on one database: a server, and the COPY of what it wrote."""

    section: str
    plan: Plan
    road: str
    copied: bool = False

    @property
    def name(self) -> str:
        """For the reader who waits."""
        what = "telemetrygen" if self.section == TELEMETRYGEN else self.plan.name
        what += ", half of the rate" if self.plan.rate else ""
        return f"{what}, {self.road}{' and copy' * self.copied}"

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        around = _AROUND["mlflow" if self.road == "mlflow" else "headrace"]
        return around + self.plan.seconds + self.copied * (_AROUND["copy"] + self.plan.seconds)


@dataclass(slots=True)
class Programme:
    """Steps, carried out one by one on one Postgres."""

    steps: list[Step] = field(default_factory=list)
    python: str = sys.executable
    python_name: str = ""
    telemetrygen: Path | None = None
    _saturated: dict[str, float] = field(default_factory=dict)
    """Name of a plan → requests a second that Headrace has taken."""

    def side_by_side(self, plans: Sequence[Plan], roads: Sequence[str], rounds: int) -> None:
        """The roads take turns, round by round, so that whatever else this machine does meets all. MLflow has no gRPC, and no
        log records."""
        for plan in plans:
            for road in [road for road in roads if road != "copy"] * rounds:
                if not (road == "mlflow" and (plan.transport == "grpc" or SHAPES[plan.shape].logs)):
                    copied = road == "headrace" and "copy" in roads
                    self.steps.append(Step(SIDE_BY_SIDE, plan, road, copied))

    def latency(self, plans: Sequence[Plan], rounds: int, *, known: bool = False) -> None:
        """At half of what Headrace can take, each request sent when it is due. `known`: what it can take is measured before."""
        for plan in list(plans) * rounds:
            if not known:
                self.steps.append(Step(HALF, plan, "headrace"))
            self.steps.append(Step(HALF, replace(plan, connections=_OPEN_LOOP_CONNECTIONS, rate=0.5), "headrace"))

    def workers(self, plans: Sequence[Plan], numbers: Sequence[int], rounds: int) -> None:
        """Headrace with so many processes."""
        roads = ["headrace" if number == 1 else f"headrace-{number}" for number in numbers]
        self.steps += [Step(PROCESSES, plan, road) for plan in plans for road in roads * rounds]

    def witness(self, plan: Plan, roads: Sequence[str], rounds: int) -> None:
        """The same load for each of the servers, by somebody else's generator."""
        self.steps += [Step(TELEMETRYGEN, plan, road) for road in [road for road in roads if road != "copy"] * rounds]

    def run(self, lab: Lab, step: Step) -> Iterator[Measurement]:
        """Carries out one step."""
        with lab.database() as url:
            if step.section == TELEMETRYGEN:
                if self.telemetrygen is not None:
                    yield witness(lab, step.road, url, self.telemetrygen, step.plan.seconds, step.plan.connections)
                return
            plan = self._at_half(step.plan) if step.plan.rate else step.plan
            if plan is None:
                yield Measurement(step.plan.name, "headrace, half", failure="its saturated rate could not be measured")
                return
            watch = step.section == PROCESSES
            found = measure(lab, step.road, url, plan, python=self.python, watch=watch)
            if not (plan.rate or found.failure) and processes(step.road) == 1:
                self._saturated[plan.name] = found.requests_per_second
            if plan.rate:
                found.road, found.whole = "headrace, half", ""
            if self.python_name and step.road != "mlflow":
                found.road += f", {self.python_name}"
            yield found
            if step.copied and not found.failure:
                yield copy(lab, plan, url)

    def _at_half(self, plan: Plan) -> Plan | None:
        saturated = self._saturated.get(plan.name)
        rate = (saturated or 0) * plan.rate
        return replace(plan, rate=rate, requests=int(rate * plan.seconds) + 1) if rate else None
