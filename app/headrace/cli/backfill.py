"""`headrace backfill`: fills the index from traces that are there already."""

import os
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from headrace.cli.console import fail, parse_time, stderr, stdout

if TYPE_CHECKING:
    from headrace.mlflow.write.backfill import Backfill

_INTERRUPTED = 130  # 128 + SIGINT: the status that shells use for Ctrl-C
_LINE_SECONDS = 10.0
"""Between two lines where there is no terminal to draw a bar on."""


def backfill(experiment: str | None, since: str) -> None:
    """Fills the index, with a progress bar, and says what it has done. A `HeadraceError` is one message and exit status 1."""
    from headrace.cli.command import database_url, load_settings, run
    from headrace.store.database import Database

    def work() -> None:
        begin = _milliseconds(since)
        url = database_url(load_settings())
        from headrace.mlflow.write.backfill import Backfill

        with closing(Database(url, "headrace backfill", 1, tells=False)) as database:
            try:
                _fill(Backfill(database, experiment, begin))
            except KeyboardInterrupt:
                sys.exit(_INTERRUPTED)

    os.environ.setdefault("HEADRACE_LOG_LEVEL", "warning")
    run(work)


def _milliseconds(since: str) -> int:
    try:
        return max(0, int(parse_time(since, -1).timestamp() * 1000)) if since else 0
    except (ValueError, OverflowError):
        fail(f"--since {since!r} is not a time: give 90m, 2h, 3d, 1w or a date like 2027-01-31.")


def _fill(work: "Backfill") -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    looked_at = covered = spans = 0
    terminal = stderr().is_terminal
    columns = (TextColumn("Indexing traces"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    said = time.monotonic()
    complete = False
    try:
        with Progress(*columns, console=stderr(), transient=True, disable=not terminal) as bar:
            task = bar.add_task("", total=work.traces)
            for step in work.run():
                looked_at, covered, spans = looked_at + step.looked_at, covered + step.covered, spans + step.spans
                bar.update(task, completed=looked_at, total=max(work.traces, looked_at))
                if not terminal and time.monotonic() - said > _LINE_SECONDS:
                    said = time.monotonic()
                    stderr().print(f"{looked_at:,} of {max(work.traces, looked_at):,} traces")
        complete = True
    finally:  # also after an error or Ctrl-C
        rest = f"{looked_at - covered:,} were in the index already, or have no spans"
        stdout().print(f"Indexed {covered:,} traces with {spans:,} spans; {rest}.")
        if not complete:
            stderr().print(f"Of {max(work.traces, looked_at):,} traces {looked_at:,} were looked at. Start it again to go on.")
