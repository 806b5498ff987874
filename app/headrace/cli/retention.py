"""`headrace retention`: which traces the rules let go, and on demand their deletion."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace.cli.command import open_database
from headrace.cli.console import stderr, stdout

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.config.retention import RetentionRule
    from headrace.mlflow.write.retain import Share
    from headrace.store.database import Database

_REASONS = ("tagged", "assessed", "linked", "archived", "in use")
_VACUUM_SHARE = 100_000
"""After so many deletions it is worth a word about VACUUM."""


def retention(experiment: str, days: float | None, keep: int | None, delete: bool, as_json: bool) -> None:
    """Prints for each experiment how many traces are due, and how many stay and why; deletes them if asked to.

    Without `days` and `keep` the rules of HEADRACE_RETENTION hold, for all experiments or the one that is named.

    Raises:
        StartError: there is no rule, no database, or no such experiment.
    """
    with open_database() as (config, database):
        rules = _rules(config, experiment, days, keep)
        gone = Counter[str]()
        for share in _shares(database, rules, experiment):
            one = _delete(database, share) if delete else _look(database, share)
            _print(share, one, delete, as_json)
            gone += one
    if not as_json:
        _advise(gone["gone"], delete)


def _rules(config: "Config", experiment: str, days: float | None, keep: int | None) -> "tuple[RetentionRule, ...]":
    from headrace.config.retention import RetentionRule
    from headrace.errors import StartError

    if days is not None or keep is not None:
        return (RetentionRule(experiment=experiment or "*", days=days, keep=keep),)
    if not config.retention:
        raise StartError(
            "There is no rule. Give --days or --keep, or set HEADRACE_RETENTION: "
            """'[{"experiment": "*", "days": 90}]'."""
        )
    return config.retention


def _shares(database: "Database", rules: "tuple[RetentionRule, ...]", experiment: str) -> "list[Share]":
    """The shares of all experiments that the rules name, or of the one that is named."""
    from headrace.errors import StartError
    from headrace.mlflow.schema import known_shape
    from headrace.mlflow.write.retain import shares

    if known_shape(database) is None:
        raise StartError("MLflow's tables are not as the bulk writer knows them, or Headrace has not written here yet.")
    chosen = [share for share in shares(database, rules) if experiment in ("", str(share.experiment_id), share.name)]
    if experiment and not chosen:
        raise StartError(f"No rule names an experiment {experiment!r}, or there is none: give its id or its name.")
    return chosen


def _look(database: "Database", share: "Share") -> Counter[str]:
    from headrace.mlflow.write.retain import due, look

    counts = Counter[str]()
    until, after = due(database, share), None
    while until is not None:
        step = look(database, share, until, after)
        counts += Counter(gone=step.gone) + step.stayed
        if step.last is None:
            break
        after = step.last
    return counts


def _delete(database: "Database", share: "Share") -> Counter[str]:
    counts = Counter[str]()
    total = _look(database, share)["gone"]
    for gone, stayed in _with_progress(database, share, total):
        counts += Counter(gone=gone) + stayed
    return counts


def _with_progress(database: "Database", share: "Share", total: int) -> Iterator[tuple[int, Counter[str]]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from headrace.export.retainer import steps

    columns = (TextColumn("Deleting from {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not stderr().is_terminal) as bar:
        task = bar.add_task(share.name, total=total)
        for gone, stayed, rest in steps(database, share):
            bar.advance(task, gone)
            yield gone, stayed
            time.sleep(rest)


def _print(share: "Share", counts: Counter[str], deleted: bool, as_json: bool) -> None:
    stayed = {why: counts[why] for why in _REASONS if counts[why]}
    if as_json:
        found = {"experiment_id": share.experiment_id, "experiment": share.name, "deleted": deleted, "traces": counts["gone"]}
        print(json.dumps(found | {"stay": stayed}), flush=True)
        return
    said = f"{'Deleted' if deleted else 'Would delete'} {counts['gone']:,} traces of {share.name} ({share.experiment_id})"
    kept = ", ".join(f"{number:,} {why}" for why, number in stayed.items())
    stdout().print(f"{said}; {kept} stay." if kept else f"{said}.")


def _advise(gone: int, deleted: bool) -> None:
    if not deleted and gone:
        stdout().print("Nothing was deleted: --delete does it.")
    if deleted and gone >= _VACUUM_SHARE:
        stdout().print("Postgres gives the space to new traces after its next VACUUM (docs/operations.md, Retention).")
    sys.stdout.flush()
