"""The long run, `make fuzz-wire`: odd connections to both ports of a `headrace serve`, until the time is over.

python -m fuzz.wire [--minutes 60] [--seed 1] [--only http|grpc] [--keep DIRECTORY]

The exit status is 1 if anything is found: a server that does not answer, a line in the log that nobody expects, an answer
of 500, an acknowledged span that is not stored, memory or descriptors that have grown. Each finding is printed with its seed
and its bytes, and kept as a file, which the tests play from then on. A Headrace that has died is started again.
"""

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from conftest import Launcher, database_directory
from faults.cluster import Cluster
from termination import end_in_order

from fuzz.wire.case import CORPUS, PORTS
from fuzz.wire.hunt import Hunt, make_case
from fuzz.wire.watch import Usage
from headrace.config import MLFLOW_DEFAULTS

_BATCH = 120
_SAY_SECONDS = 30.0
SETTINGS: dict[str, Any] = {"header_seconds": 3, "body_seconds": 3, "max_body_bytes": 2**20, "default_experiment": "Default"}
"""Of the Headrace that is attacked: what is slow is cut off soon."""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="fuzz.wire", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", choices=PORTS, default="", help="only cases for this port")
    parser.add_argument("--keep", type=Path, default=CORPUS, help="where findings are kept")
    options = parser.parse_args()
    os.environ.update(MLFLOW_DEFAULTS)
    end_in_order()
    with database_directory() as directory:
        cluster = Cluster(directory / "pg", "fsync=off")
        launcher = Launcher(directory)
        try:
            hunt = Hunt(lambda: launcher("serve", database_url=cluster.url, **SETTINGS), cluster.url, options.keep)
            return _run(hunt, options.minutes, options.seed, options.only)
        finally:
            launcher.stop_all()
            cluster.stop()


def _run(hunt: Hunt, minutes: float, seed: str, only: str) -> int:
    until, said = time.monotonic() + minutes * 60, time.monotonic()
    before: Usage | None = None
    for number in itertools.count(0, _BATCH):
        if time.monotonic() > until:
            break
        complaints = hunt.batch([make_case(seed, number + index, only) for index in range(_BATCH)])
        if any(complaint.deadly for complaint in complaints):
            before = None
        elif before is None:
            hunt.promises()
            before = hunt.usage()  # of a Headrace that has worked for a moment
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            hunt.promises()
            print(f"case {number:,}: {hunt.usage()}; findings: {len(hunt.figures.found)}", flush=True)
    hunt.promises()
    hunt.batch([])
    return _judge(hunt, before)


def _judge(hunt: Hunt, before: Usage | None) -> int:
    after = hunt.usage(before)
    grown = before is not None and (after.rss > before.rss * 1.25 + 2**26 or after.descriptors > before.descriptors + 16)
    print(
        hunt.figures, f"before: {before}", f"after:  {after}", f"grown: {grown}; findings: {len(hunt.figures.found)}", sep="\n"
    )
    return int(grown or bool(hunt.figures.found))


if __name__ == "__main__":
    sys.exit(main())
