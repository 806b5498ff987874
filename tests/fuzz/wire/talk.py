"""One connection while it is written down."""

from random import Random

import otlp
from fuzz.wire.case import Step


class Talk:
    """One connection being written down."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.steps: list[Step] = []
        self.answers = 0
        self.span = ""
        self._stream = -1

    def stream(self) -> int:
        """The next of the client's streams."""
        self._stream += 2
        return self._stream

    def send(self, data: bytes, times: int = 1, wait: float = 0.0) -> None:
        """Notes a step."""
        self.steps.append(Step(data, times, wait))

    def body(self) -> bytes:
        """A request of one span. Its id follows from the seed."""
        self.span = self.random.randbytes(8).hex()
        span = otlp.span("wire", self.random.randbytes(16), bytes.fromhex(self.span))
        return otlp.request(span).SerializeToString()


def pieces(steps: tuple[Step, ...], random: Random) -> tuple[Step, ...]:
    """The same bytes in pieces, with pauses: at most 40 of them."""
    data = b"".join(step.data * step.times for step in steps)
    size = max(random.choice((1, 3, 9, 50)), len(data) // 40 + 1)
    wait = random.choice((0.0, 0.001, 0.01))
    return tuple(Step(data[at : at + size], 1, wait) for at in range(0, len(data), size))
