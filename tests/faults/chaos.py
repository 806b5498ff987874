"""The long run, `make chaos`: clients send, and one fault after another is tried, in random order, until the time is over.

python -m faults.chaos [--minutes 30] [--seed 1] [--outage]

First all faults, with SIGKILLs of Headrace's own processes, until there were enough of those; then the others alone, so that
the memory and the descriptors of the same processes can be compared. With --outage: as many minutes without Postgres.
The exit status is 1 if anything is lost, doubled or refused without need, or if memory or descriptors have grown.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from conftest import Launcher, database_directory, wait_until
from termination import end_in_order

from faults.catalogue import DISK_FULL, FAULTS, KILLS, POSTGRES_AWAY, Fault, cannot_mount
from faults.cluster import Cluster
from faults.hostile import HOSTILE
from faults.proxy import Proxy
from faults.signals import verify_all
from faults.stage import Stage, Usage
from faults.table import Row, lines
from headrace.config import MLFLOW_DEFAULTS

_KILLS_A_MINUTE = 3.4
_AWAY_SECONDS = 60


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="faults.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage", action="store_true")
    options = parser.parse_args()
    os.environ.update(MLFLOW_DEFAULTS)
    end_in_order()
    with database_directory() as directory:
        if options.outage:
            from faults.outage import outage

            return outage(directory, options.minutes)
        return _chaos(directory, options.minutes, Random(options.seed))


def _chaos(directory: Path, minutes: float, rng: Random) -> int:
    cluster = Cluster(directory / "pg")
    launcher = Launcher(directory)
    with Proxy(cluster.port, rng) as proxy:
        run = Run(Stage(cluster, proxy, launcher, rng, pause=0.02, signals=True), minutes)
        try:
            return run.all()
        finally:
            launcher.stop_all()
            cluster.stop()


class Run:
    """One long run."""

    def __init__(self, stage: Stage, minutes: float) -> None:
        self._stage = stage
        self._minutes = minutes
        self._began = time.monotonic()
        self._rows: dict[str, Row] = {}
        self._unneeded = 0
        self._faults = [*FAULTS, *HOSTILE]
        if reason := cannot_mount(stage.launcher.directory):
            self._say(f"not tried: {DISK_FULL}: {reason}")
            self._faults = [fault for fault in self._faults if fault.name != DISK_FULL]

    def all(self) -> int:
        """Both parts, the verification and the table; returns the exit status."""
        stage = self._stage
        stage.start(2)
        killed = 0
        for fault in self._deck([*self._faults, *KILLS * 7]):
            if self._over(1.5) or (self._over(0.5) and killed >= self._minutes * _KILLS_A_MINUTE):
                break
            self._try(fault)
            killed += fault.ours
        stage.kill()
        stage.start(2)
        wait_until(lambda: len(stage.workers()) == 2, what="both workers")
        before = self._settled()
        until = max(self._began + self._minutes * 60, time.monotonic() + self._minutes * 15)
        for fault in self._deck(self._faults):
            if time.monotonic() > until:
                break
            self._try(fault)
        return self._judge(before, self._settled())

    def _deck(self, faults: list[Fault]) -> Iterator[Fault]:
        """All of them in random order, then all of them again, without end."""
        while True:
            yield from self._stage.rng.sample(faults, len(faults))

    def _over(self, share: float) -> bool:
        return time.monotonic() - self._began > self._minutes * 60 * share

    def _try(self, fault: Fault) -> None:
        stage = self._stage
        row = self._rows.setdefault(fault.name, Row(fault.name))
        first = fault.name == POSTGRES_AWAY and row.times < 2
        stage.seconds = min(_AWAY_SECONDS, self._minutes * 6) if first else stage.rng.uniform(0.5, 5)
        with stage.load(row, fault.hang_ups) as load:
            fault.once(stage)
            mended = time.monotonic()  # and from then on so long until everything is written that was accepted before
            stage.writes()
        row.times += 1
        refused = load.ledger.refusals.total()
        self._unneeded += 0 if fault.may_refuse else refused
        said = f"acknowledged {load.ledger.requests:,}, refused {refused:,} requests"
        slowest = f"slowest {load.ledger.slowest:.1f} s, caught up after {time.monotonic() - mended:.1f} s"
        self._say(f"{fault.name}: {said}, {slowest}; {stage.usage()}")
        if refused and not fault.may_refuse:
            self._say(f"refused without need: {dict(load.ledger.refusals)}")

    def _settled(self) -> Usage:
        """Memory and descriptors after half a minute of plain load and an empty queue."""
        row = self._rows.setdefault("none", Row("none"))
        with self._stage.load(row):
            time.sleep(min(30, self._minutes * 3))
        row.times += 1
        self._stage.drained()
        return self._stage.usage()

    def _judge(self, before: Usage, after: Usage) -> int:
        self._say("verifying")
        rows = list(self._rows.values())
        tallies = [row.verify(self._stage.cluster.url) for row in rows]
        print(*lines(rows), f"before: {before}", f"after:  {after}", sep="\n", flush=True)
        of_signals = verify_all(self._stage.cluster.url, self._stage.promised)
        print("", "Programs that send all three signals:", "", *lines(of_signals), sep="\n", flush=True)
        tallies += [row.tally for row in of_signals]
        wrong = sum(tally.lost + tally.doubled for tally in tallies)
        grown = after.above(before)
        print(f"lost or doubled: {wrong}; refused without need: {self._unneeded}; grown: {grown}", flush=True)
        return int(bool(wrong or self._unneeded or grown))

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"{minutes:3}:{seconds:02}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
