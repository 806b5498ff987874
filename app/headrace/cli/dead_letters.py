"""`headrace dead-letters`: the spans that could not be written, kept in the table `headrace.dead_letter`."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.command import open_database
from headrace.cli.console import parse_time, stderr, stdout

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.envelope import envelope_pb2 as pb
    from headrace.store.database import Database
    from headrace.store.letter_selection import Selection

dead_letters = typer.Typer(
    rich_markup_mode=None,
    help="Spans that could not be written. In the database of HEADRACE_DATABASE_URL, or of a running `headrace up`.",
    no_args_is_help=True,
)

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Ids, as `list` shows them.")]
Experiment = Annotated[str, typer.Option(help="Only of this experiment: its id or name.")]
Trace = Annotated[str, typer.Option(help="Only of this trace: its id, or the beginning of it.")]
Reason = Annotated[str, typer.Option(help="Only those with this text in their reason.")]
Since = Annotated[str, typer.Option(help="Only those that failed in the last 90m, 2h, 3d, 1w, or since a date, 2027-01-31.")]
Client = Annotated[str, typer.Option(help="Only those with this text in their API key's name or in their user agent.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@dead_letters.command("list")
def list_(
    experiment: Experiment = "",
    trace: Trace = "",
    reason: Reason = "",
    since: Since = "",
    client: Client = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show dead letters, the newest first, and how many there are with each reason."""
    from headrace.cli.letter_text import letters_table
    from headrace.store.dead_letters import count, newest

    with _database() as (_, database):
        selection = _selection(None, experiment, trace, reason, since, client)
        found = newest(database, selection, limit)
        kinds = count(database, selection, "reason")
    if as_json:
        for letter in found:
            print(json.dumps(letter._asdict(), default=datetime.isoformat))
        return
    if found:
        stdout().print(letters_table(found, stdout().width), soft_wrap=False)
        print()
    _say(f"{len(found)} of {_letters(kinds)}:", kinds)


@dead_letters.command()
def show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")],
    raw: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the OTLP bytes, an ExportTraceServiceRequest, to this file.")
    ] = None,
) -> None:
    """Show one dead letter: why it failed, who sent it, which experiment it was for, and its span as OTLP/JSON."""
    from headrace.cli.letter_text import describe, otlp_of
    from headrace.errors import StartError
    from headrace.store.dead_letters import envelope_of, newest
    from headrace.store.letter_selection import Selection

    with _database() as (_, database):
        found = newest(database, Selection(ids=(id_,)), 1)
        envelope = envelope_of(database, id_)
        if not found:
            raise StartError(f"There is no dead letter {id_}: see `headrace dead-letters list`.")
        if raw is None:
            stdout().print(describe(found[0], envelope))
            return
    _write_raw(raw, envelope, otlp_of(envelope))


def _write_raw(file: Path, envelope: bytes, request: bytes | None) -> None:
    """Writes the request of an envelope to a file, or the envelope if no request can be read in it; and says so."""
    from headrace.errors import StartError

    try:
        file.write_bytes(envelope if request is None else request)
    except OSError as error:
        raise StartError(f"{file} cannot be written: {error.strerror}.") from None
    what = "the bytes of the letter, which cannot be read as OTLP" if request is None else "an ExportTraceServiceRequest"
    stdout().print(f"{file} has {what}.")


@dead_letters.command("replay")
def replay_(  # noqa: PLR0913 - a command's options
    ids: Ids = None,
    *,
    experiment: Experiment = "",
    trace: Trace = "",
    reason: Reason = "",
    since: Since = "",
    client: Client = "",
    all_: All = False,
    to: Annotated[str, typer.Option(metavar="EXPERIMENT", help="Into this experiment (id or name), which must exist.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Write dead letters once more, the oldest first. Those that succeed are deleted. If others stay, the exit status is 1."""
    from headrace.export.replay import destination
    from headrace.store.dead_letters import count

    with _database() as (config, database):
        selection = _chosen(database, _selection(ids, experiment, trace, reason, since, client), all_)
        into = destination(database, to) if to else None
        places = count(database, selection, "experiment")
        if not dry_run:
            sys.exit(0 if _replay(config, database, selection, into, places.total()) else 1)
    if into is not None:
        places = Counter({f"{to} (--to)": places.total()})
    _say(f"Would replay {_letters(places)}, the oldest first, into:", places)


@dead_letters.command()
def drop(  # noqa: PLR0913 - a command's options
    ids: Ids = None,
    *,
    experiment: Experiment = "",
    trace: Trace = "",
    reason: Reason = "",
    since: Since = "",
    client: Client = "",
    all_: All = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good: their spans are lost."""
    from headrace.store import dead_letters as store

    with _database() as (_, database):
        selection = _chosen(database, _selection(ids, experiment, trace, reason, since, client), all_)
        kinds = store.count(database, selection, "reason")
        if dry_run or not kinds:
            _say(f"Would drop {_letters(kinds)}:", kinds)
            return
        if not yes:
            _say(f"This drops {_letters(kinds)} for good:", kinds)
            typer.confirm("Go on (--yes does not ask)?", abort=True)
        stdout().print(f"Dropped {_letters(store.drop(database, selection))}.")


@contextmanager
def _database() -> Iterator[tuple["Config", "Database"]]:
    """As `open_database`, where there is a table of dead letters."""
    from headrace.store.dead_letters import check_table

    with open_database() as (config, database):
        check_table(database)
        yield config, database


def _selection(ids: list[int] | None, experiment: str, trace: str, reason: str, since: str, client: str) -> "Selection":
    from headrace.store.letter_selection import Selection

    return Selection(tuple(ids) if ids else None, experiment, trace, reason, _since(since) if since else None, client)


def _chosen(database: "Database", selection: "Selection", all_: bool) -> "Selection":
    """The selection, limited to the letters that exist now. Without ids or filters it needs --all, so that nobody replays or
    drops all letters by leaving something out."""
    from headrace.errors import StartError
    from headrace.store.dead_letters import newest_id

    if all_ == bool(selection.conditions):
        raise StartError("Say which letters: give ids or filters, or only --all.")
    return replace(selection, newest=newest_id(database))


def _since(text: str) -> datetime:
    from headrace.errors import StartError

    try:
        return parse_time(text, -1)
    except (ValueError, OverflowError):
        raise StartError(f"--since {text!r} is not a time: give 90m, 2h, 3d, 1w or a date like 2027-01-31.") from None


def _replay(config: "Config", database: "Database", selection: "Selection", to: "pb.Destination | None", total: int) -> bool:
    """Replays the selection with a progress bar. Returns whether all of it was written."""
    from headrace.export.exporter import Exporter
    from headrace.export.replay import replay
    from headrace.mlflow.experiments import Experiments
    from headrace.store.dead_letters import count
    from headrace.store.letter_selection import Selection

    experiments = Experiments.of(config, database)
    exporter = Exporter.of(config, database, experiments)
    written = 0
    failed: list[int] = []
    try:
        with _progress(total) as show:
            for step in replay(database, exporter, selection, to, config.batch_max_bytes):
                written += step.written
                failed += step.failed
                show(written + len(failed))
    finally:  # also after an error or Ctrl-C
        stdout().print(f"Replayed {written} of {_letters(total)}.")
    if failed:
        kinds = count(database, Selection(ids=tuple(failed)), "reason")
        _say(f"{_letters(len(failed))} failed again:", kinds)
    return not failed


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar in the terminal. Gives what shows how many of all letters are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not stderr().is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _letters(number: "int | Counter[str]") -> str:
    total = number if isinstance(number, int) else number.total()
    return f"{total} dead letter{'' if total == 1 else 's'}"


def _say(head: str, counts: "Counter[str]") -> None:
    """Prints a heading, and below it each value with its number."""
    from headrace.cli.letter_text import printable

    stdout().print(head if counts else f"{head[:-1]}.")
    for value, number in counts.items():
        stdout().print(f"{number:>8}  {printable(value)}")
