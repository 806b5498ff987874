"""Cases for the gRPC port: sequences of frames, sound at the beginning, odd somewhere."""

from random import Random

from fuzz.bodies import mutate_bytes
from fuzz.wire import grpc_calls, grpc_frames, http2
from fuzz.wire.case import Case, Step
from fuzz.wire.odd import TLS_SHAPES
from fuzz.wire.talk import Talk, pieces

_SCENES = (*grpc_calls.SCENES, *grpc_frames.SCENES)
_ENDS = ("read", "read", "read", "read", "half", "cut", "deaf")


def make(random: Random, name: str) -> Case:
    """A case for the gRPC port."""
    talk = Talk(random)
    talk.send(http2.opening(*[http2.setting(4, 65535)] * random.choice((0, 0, 1))))
    shape = random.random()
    if shape < 0.03:
        talk.steps = [
            Step(random.choice((*TLS_SHAPES, http2.PREFACE[:11], random.randbytes(300), b"\r\n" * 200, http2.PREFACE * 3)))
        ]
    for _ in range(random.choice((1, 1, 1, 2, 3)) if shape >= 0.03 else 0):
        random.choice(_SCENES)(talk)
    single = len(talk.steps) == 2 and talk.answers == 1  # only then it is known whose answer came
    steps = tuple(talk.steps)
    if shape > 0.9:
        steps, single = (
            (Step(mutate_bytes(b"".join(step.data * min(step.times, 99) for step in steps)[:60_000], random)),),
            False,
        )
    elif shape > 0.83:
        steps = pieces(steps, random)
    return Case(name, "grpc", steps, random.choice(_ENDS), max(1, talk.answers), talk.span if single else "")
