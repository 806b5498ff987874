"""Plays many cases at once, asks after each batch whether all is well, and finds the case that did it."""

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from conftest import Running, rows

from fuzz.wire import grpc_cases, http_cases
from fuzz.wire.answers import Answers
from fuzz.wire.case import Case
from fuzz.wire.http2 import PREFACE
from fuzz.wire.peer import play
from fuzz.wire.watch import Complaint, Usage, Watch, shape_of

THREADS = 12


def make_case(seed: int | str, number: int, only: str = "") -> Case:
    """The so-manieth case of a seed; `only`: of this port. One in twenty speaks the other port's protocol."""
    random = Random(f"{seed}/{number}")
    port = only or random.choice(("http", "grpc"))
    name = f"seed {seed}, case {number}"
    if random.random() < 0.05:
        other = grpc_cases.make(random, name) if port == "http" else http_cases.make(random, name, port)
        return Case(other.name, port, other.steps, other.end, other.answers)
    return grpc_cases.make(random, name) if port == "grpc" else http_cases.make(random, name)


@dataclass
class Figures:
    """Of the whole run."""

    connections: int = 0
    sent: int = 0
    frames: int = 0
    requests: int = 0
    refused: int = 0
    """Connections that nobody took."""
    promised: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, answers: Answers) -> None:
        """Counts one connection."""
        self.connections += 1
        self.sent += case.size
        self.requests += case.answers
        self.frames += sum(frames_in(step.data) * step.times for step in case.steps) if case.port == "grpc" else 0
        self.answers.update(f"{case.port}: {answer.status}" for answer in answers.found)
        self.answers.update(f"{case.port}: {other}" for other in answers.others)

    def __str__(self) -> str:
        lines = [f"connections {self.connections:,}, bytes sent {self.sent:,}, connections not taken {self.refused:,}"]
        lines.append(
            f"HTTP/2 frames {self.frames:,}, requests {self.requests:,}; spans promised and looked for {self.promised:,}"
        )
        lines += [f"  {count:9,}  {answer}" for answer, count in sorted(self.answers.items())]
        return "\n".join([*lines, *(f"FOUND {count} times: {shape}" for shape, count in self.found.items())])


def frames_in(data: bytes) -> int:
    """How many frames begin in these bytes, as their lengths have it."""
    at = len(PREFACE) if data.startswith(PREFACE) else 0
    count = 0
    while at + 9 <= len(data):
        at += 9 + int.from_bytes(data[at : at + 3], "big")
        count += 1
    return count


class Hunt:
    """`start` starts Headrace, anew after each death; `keep`: the directory to which findings are written."""

    def __init__(self, start: Callable[[], Running], database_url: str, keep: Path, threads: int = THREADS) -> None:
        self.figures = Figures()
        self._start = start
        self._database_url = database_url
        self._keep = keep
        self._pool = ThreadPoolExecutor(threads)
        self._promises: dict[str, Case] = {}
        self._blamed: set[str] = set()
        self.watch = Watch(start())

    def batch(self, cases: Sequence[Case]) -> list[Complaint]:
        """Plays them; what is new and wrong is looked into at once, and written down."""
        for case, answers in zip(cases, self._pool.map(self._play, cases), strict=True):
            if answers is None:
                self.figures.refused += 1
                continue
            self.figures.add(case, answers)
            self._judge(case, answers)
        complaints = sorted(self.watch.complaints(), key=lambda complaint: not complaint.deadly)
        new = [complaint for complaint in complaints if self._is_new(complaint)]
        for complaint in new[:1]:  # the others will come again, in batches of their own
            self._blame(complaint, cases)
        if any(complaint.deadly for complaint in complaints):
            self.restart()
        return complaints

    def _play(self, case: Case) -> Answers | None:
        with suppress(OSError):
            return play(case, self.watch.address[case.port])
        return None

    def restart(self) -> None:
        """A new Headrace in the dead one's place."""
        with suppress(OSError):
            self.watch.running.kill()
        self.watch = Watch(self._start())

    def _judge(self, case: Case, answers: Answers) -> None:
        """A status that says that nobody foresaw this is a finding of this very case."""
        for answer in answers.found:
            if answer.status in ("500", "grpc 2"):
                complaint = Complaint(shape_of(f"answer {answer.status}: {answer.text}"), answer.text)
                if self._is_new(complaint):
                    self._blame(complaint, [case])
        if case.span and answers.found and answers.found[0].full:
            self._promises[case.span] = case

    def _is_new(self, complaint: Complaint) -> bool:
        """Counts it; whether nobody knows yet which case does this."""
        self.figures.found[complaint.shape] += 1
        return complaint.shape not in self._blamed

    def _blame(self, complaint: Complaint, suspects: Sequence[Case]) -> None:
        self._blamed.add(complaint.shape)
        print(f"\nFOUND {complaint.shape}\n{complaint.text[-1500:]}", flush=True)
        guilty = suspects if len(suspects) == 1 else self._guilty(complaint.shape, suspects)
        if len(guilty) > 4:
            print(f"not one case alone: {guilty[0].name} to {guilty[-1].name}", flush=True)
            return
        for case in guilty:
            self._write(complaint, case)

    def _guilty(self, shape: str, suspects: Sequence[Case]) -> Sequence[Case]:
        """Halves, as long as one half does it alone."""
        while len(suspects) > 1:
            middle = len(suspects) // 2
            halves = (suspects[:middle], suspects[middle:])
            guilty = next((half for half in halves if self._does(shape, half)), None)
            if guilty is None:
                return suspects
            suspects = guilty
        return suspects

    def _does(self, shape: str, cases: Sequence[Case]) -> bool:
        if any(complaint.deadly for complaint in self.watch.complaints()):
            self.restart()
        list(self._pool.map(self._play, cases))
        time.sleep(0.2)
        complaints = self.watch.complaints()
        if any(complaint.deadly for complaint in complaints):
            self.restart()
        return any(complaint.shape == shape for complaint in complaints)

    def _write(self, complaint: Complaint, case: Case) -> None:
        self._keep.mkdir(exist_ok=True)
        slug = re.sub(r"\W+", "_", complaint.shape.lower()).strip("_")[:60]
        file = self._keep / f"found_{slug}.json"
        file.write_text(case.to_json(found=complaint.text[:2000]))
        print(f"{case.name}, {case.size:,} bytes to {case.port}, kept in {file}", flush=True)
        for step in case.steps[:10]:
            print(f"  {step.times} times {step.data[:600].hex()}", flush=True)

    def promises(self) -> set[str]:
        """Waits until the queue is empty; returns the spans of full successes that are not stored, which are findings."""
        until = time.monotonic() + 60
        while not self.watch.running.drained() and time.monotonic() < until:
            time.sleep(0.1)
        found = rows(self._database_url, "SELECT span_id FROM spans WHERE span_id = ANY (%s)", list(self._promises))
        lost = self._promises.keys() - {row["span_id"] for row in found}
        for span in sorted(lost):
            complaint = Complaint("acknowledged and not stored", f"span {span}")
            if self._is_new(complaint):
                self._blame(complaint, [self._promises[span]])
        self.figures.promised += len(self._promises)
        self._promises.clear()
        return set(lost)

    def usage(self, most: Usage | None = None) -> Usage:
        """Now; or once no more descriptors are open than that, at the latest after a minute."""
        until = time.monotonic() + 60
        now = Usage.of(self.watch.running)
        while most is not None and now.descriptors > most.descriptors and time.monotonic() < until:
            time.sleep(0.2)
            now = Usage.of(self.watch.running)
        return now
