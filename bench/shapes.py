"""The shapes of load: how many spans a request has, of how many traces, and in how many requests a trace arrives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """A group of `traces` traces of `spans` spans each, sent in `parts` requests: children first, the root last."""

    traces: int
    spans: int
    work: str = "shop"
    """What the spans are of: `shop` (HTTP and databases of one service), `shop-llm` (every other span a chat), `services` (a
    shop of three services), `agent` (an agent's turns)."""
    parts: int = 1
    long: bool = False
    """The same few traces in every request, from the first to the last: each adds spans to them."""
    whole: str = ""
    """The shape with the same spans where each trace comes whole, in one request."""

    logs: bool = False
    """A log record for each span, all of a group in a request of their own: before the spans, or after them."""

    @property
    def requests(self) -> int:
        """Requests of one group."""
        return self.parts + self.logs

    @property
    def size(self) -> float:
        """Spans in one request, in the mean."""
        return self.traces * ((self.spans - 1) if self.long else self.spans) / self.requests


PLAIN = [(1, 1), (1, 10), (10, 10), (64, 8), (512, 1), (1, 512)]
SHAPES = {f"{traces}x{spans}": Shape(traces, spans) for traces, spans in PLAIN} | {
    "8x8": Shape(8, 8),
    "8x8-logs": Shape(8, 8, logs=True, whole="8x8"),
    "8x8-llm": Shape(8, 8, "shop-llm"),
    "pieces": Shape(1, 10, "services", parts=4, whole="pieces-whole"),
    "pieces-1": Shape(1, 10, "services", parts=10, whole="pieces-whole"),
    "pieces-whole": Shape(1, 10, "services"),
    "batches": Shape(10, 10, "services", parts=4, whole="batches-whole"),
    "batches-whole": Shape(10, 10, "services"),
    "long": Shape(4, 6, long=True, whole="1x512"),
    "agent": Shape(1, 30, "agent", parts=6, whole="agent-whole"),
    "agent-whole": Shape(1, 30, "agent"),
}
