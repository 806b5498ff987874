"""`headrace doctor`: looks at this machine, at the settings and at the road of a span, and says what is in the way.

problems.py   what can be wrong, and what to do about it; docs/troubleshooting.md has the same sentences
machine.py    the data directory and its disk, open files, ports
access.py     API keys, TLS
running.py    the receiver and MLflow, asked over their ports
database.py   Postgres: reachable, rights, tables, clock, dead letters
road.py       one span, sent to the receiver and waited for in MLflow

It changes nothing, but for the one trace that it sends and deletes again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from headrace.config import Config
from headrace.doctor.problems import PROBLEMS, Problem

State = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found. `said`: one sentence on what is there. `problem`: None if nothing is wrong."""

    check: str
    state: State
    said: str
    problem: Problem | None = None


def ok(check: str, said: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, "ok", said)


def skipped(check: str, said: str) -> Finding:
    """It could not be looked at; `said` is the reason."""
    return Finding(check, "skipped", said)


def wrong(check: str, problem: str, said: str) -> Finding:
    """One of `PROBLEMS`, by its name."""
    found = PROBLEMS[problem]
    return Finding(check, "warning" if found.warns else "failure", said, found)


@dataclass(frozen=True, slots=True)
class Probe:
    """The span that is to be sent. `wanted`: whether to send it. `api_key`: empty if Headrace asks for none."""

    wanted: bool = True
    experiment_id: str = "0"
    api_key: str = ""


def examine(config: Config, environ: dict[str, str], probe: Probe) -> Iterator[Finding]:
    """Makes every check, from the settings to a span in MLflow, and gives each finding as soon as it is there.

    A check that cannot be made says why. Never raises.
    """
    from headrace.doctor import access, database, machine, road, running

    yield from machine.settings(environ)
    yield from machine.data_directory(config)
    yield from machine.open_files(config)
    yield from access.keys(config)
    yield from access.tls(config)
    receiver = running.receiver(config)
    yield from receiver.findings
    yield from running.grpc(config, receiver.answers)
    yield from machine.queue(config)
    yield from database.database(config)
    mlflow = running.mlflow(config)
    yield from mlflow.findings
    yield from road.road(config, probe, receiver.answers, mlflow.answers)
