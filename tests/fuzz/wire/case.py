"""What one connection sends. A case is a value: it follows from (seed, port, number), and a finding is kept as a JSON file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PORTS = ("http", "grpc")


@dataclass(frozen=True)
class Step:
    """Sends `data` so many times, then waits. No data: waits only."""

    data: bytes = b""
    times: int = 1
    wait: float = 0.0
    """Seconds."""


@dataclass(frozen=True)
class Case:
    """All that one connection sends, and how it ends.

    `end`: "read" reads answers until there are none for a moment, and closes; "half" closes its sending side first; "cut"
    resets the connection without reading; "deaf" never reads, waits a moment, and closes.
    `answers`: after so many complete answers there is nothing to wait for. `span`: the id of a span in it, in hex. Its framing
    is sound, so a full success promises that the span is stored; "": nothing is promised.
    """

    name: str
    port: str
    steps: tuple[Step, ...]
    end: str = "read"
    answers: int = 1
    span: str = ""

    @property
    def size(self) -> int:
        """Bytes sent."""
        return sum(len(step.data) * step.times for step in self.steps)

    def to_json(self, **notes: Any) -> str:
        """As a file of the corpus; `notes` are for people."""
        steps = [{"data": step.data.hex(), "times": step.times, "wait": step.wait} for step in self.steps]
        fields = {"name": self.name, "port": self.port, "end": self.end, "answers": self.answers, "span": self.span}
        return json.dumps({**notes, **fields, "steps": steps}, indent=1, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> "Case":
        """The reverse of `to_json`."""
        found = json.loads(text)
        steps = tuple(Step(bytes.fromhex(step["data"]), step["times"], step["wait"]) for step in found["steps"])
        return Case(found["name"], found["port"], steps, found["end"], found["answers"], found["span"])


CORPUS = Path(__file__).parent.parent / "wire_seeds"
"""What was found once, and one case of each kind that was not."""


def corpus() -> dict[str, Case]:
    """The cases that are kept, by the names of their files."""
    return {path.stem: Case.from_json(path.read_text()) for path in sorted(CORPUS.glob("*.json"))}
