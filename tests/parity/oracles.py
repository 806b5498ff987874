"""Each release of MLflow is an oracle: the whole corpus through its own server, and through Headrace, into its own tables.

    PYTHONPATH=tests .venv/bin/python -m parity.oracles [--minors 3.14,3.16] [--only TEXT]

Each release has an environment of its own, in HEADRACE_ORACLES (by default ~/.cache/headrace-oracles), made with uv where it is
at hand. Headrace translates as the MLflow does that is installed with it; what MLflow itself has changed since a release is in
`changes.py`, with the reason. A run of all releases over the whole corpus writes its table into docs/compatibility.md.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from conftest import name_of
from mlflow.version import VERSION

from headrace.local.postgres import EmbeddedPostgres
from headrace.mlflow.schema import open_writer
from headrace.mlflow.shape import Schema, look
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database
from headrace.telemetry.logging import configure_logging
from parity.compare import Difference, Snapshot, diff, explain, snapshot, unknown
from parity.corpus import Exchange, Scenario, corpus, names_of
from parity.databases import MLFLOW_SETTINGS
from parity.environments import python_of
from parity.migrated import made_by_the_migration
from parity.page import write_table
from parity.quick import write_all
from parity.releases import RELEASES, Release, minor_of, unexplained
from parity.servers import create, mlflow_server, seed, upgrade

FEW = ("pair-00", "usage over a tree, order 0", "Claude Code: a trace", "OpenInference: a trace", "begun:", "costs of models")
"""Beginnings of the names of scenarios that show most of what the releases do differently."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one release."""

    release: Release
    revision: str
    shape: str
    requests: int
    spans: int
    rows: int
    known: int
    """Differences that MLflow has made itself since, or before."""
    unknown: int
    upgraded: int | None = None
    """Differences from the installed MLflow's own rows, once its `mlflow db upgrade` has brought ours up to date. None: the
    release is not older."""


def main() -> int:
    """Prints a table of the releases; the exit status is 1 where something differs that nobody has explained."""
    arguments = _arguments()
    os.environ.update(MLFLOW_SETTINGS | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    configure_logging("console", "error")
    scenarios = [scenario for scenario in corpus() if arguments.only in scenario.name]
    wanted = [release for release in RELEASES if release.minor in arguments.minors.split(",")]
    with tempfile.TemporaryDirectory(prefix="headrace-oracles-") as directory:
        Path(directory).chmod(0o711)
        with EmbeddedPostgres(Path(directory) / "pg") as postgres:
            oracles = Oracles(postgres.url, scenarios)
            results = [oracles.ask(release) for release in wanted]
    lines = table(results)
    print("\n".join(lines))
    if len(results) == len(RELEASES) and not arguments.only:
        write_table(lines)
    return any(result.unknown or result.upgraded for result in results)


def few() -> list[Scenario]:
    """A small part of the corpus, for a quick look."""
    return [scenario for scenario in corpus() if scenario.name.startswith(FEW)]


class Oracles:
    """Both roads for one release after the other, each in databases of its own."""

    def __init__(self, url: str, scenarios: Sequence[Scenario]) -> None:
        """`url`: of any database of a Postgres that is ours."""
        self._url = url
        self._scenarios = scenarios
        self._names = names_of(scenarios)
        self._snapshots: dict[str, Snapshot] = {}
        self._seeded: set[str] = set()

    def ask(self, release: Release) -> Result:
        """Compares the release's own rows with ours."""
        theirs, exchanges = self._of_mlflow(release), self._exchanges_for(release)
        ours, schema = self._of_headrace(release)
        found = unknown(diff(theirs, snapshot(ours)), self._names)
        strange = unexplained(release, found, self._names)
        known = len(found) - len(strange)
        strange += self._with_workspaces(release, theirs)
        self._say(f"MLflow {release.version}: {known} known differences, unknown ones", strange)
        counts = (len(exchanges), sum(len(each.spans) for each in exchanges), sum(map(len, theirs.values())))
        shape = str(schema.shape and schema.shape.name)
        return Result(release, schema.revision, shape, *counts, known, len(strange), self._upgraded(release, ours))

    def _of_mlflow(self, release: Release) -> Snapshot:
        """The rows that the release's own server has written."""
        if release.version not in self._snapshots:
            url = self._clone(release, "theirs")
            with mlflow_server(python_of(release), url) as address:
                refused = _send(address, self._taken_by(release))
                self._snapshots[release.version] = snapshot(url)
                others = [scenario for scenario in self._scenarios if scenario.name in release.refuses]
                taken = [scenario.name for scenario in others if not _send(address, [scenario])]
            assert not refused, "\n".join(refused)
            assert not taken, f"MLflow {release.version} takes them, after all: {taken}"
        return self._snapshots[release.version]

    def _taken_by(self, release: Release) -> list[Scenario]:
        return [scenario for scenario in self._scenarios if scenario.name not in release.refuses]

    def _exchanges_for(self, release: Release) -> list[Exchange]:
        """What both roads are given."""
        return [exchange for scenario in self._taken_by(release) for exchange in scenario.exchanges]

    def _of_headrace(self, release: Release) -> tuple[str, Schema]:
        """The database that we have written, and what its tables are like."""
        url = self._clone(release, "ours")
        database = Database(url)
        writer = open_writer(database, enrich=False)
        assert isinstance(writer, BulkWriter), url
        with database.begin() as connection:
            schema = look(connection)
        assert schema is not None
        failures = write_all(writer, self._exchanges_for(release))
        database.close()
        for failure, count in Counter(failures).most_common(5):
            print(f"{count} requests were not written: {failure}")
        return url, schema

    def _with_workspaces(self, release: Release, theirs: Snapshot) -> list[Difference]:
        """What is other where the release's server keeps workspaces apart, and the requests name the one that we write to."""
        chosen = [scenario for scenario in self._scenarios if scenario.name.startswith(FEW)]
        url = self._clone(release, "apart")
        with mlflow_server(python_of(release), url, "--enable-workspaces") as address:
            refused = _send(address, chosen, {"x-mlflow-workspace": "default"})
        assert not refused, "\n".join(refused)
        return [one for one in diff(theirs, snapshot(url)) if one.trace_id in names_of(chosen)]

    def _upgraded(self, release: Release, ours: str) -> int | None:
        """See `Result.upgraded`. This finds what the list of known differences could hide."""
        installed = next(each for each in RELEASES if each.minor == minor_of(VERSION))
        if RELEASES.index(release) >= RELEASES.index(installed):
            return None
        url = create(ours, f"upgraded_{_slug(release)}", name_of(ours))
        upgrade(Path(sys.executable), url)
        found = unknown(diff(self._of_mlflow(installed), snapshot(url)), self._names)
        strange = [one for one in found if not made_by_the_migration(one)]
        self._say(f"Upgraded from MLflow {release.version} to {VERSION}: unknown differences", strange)
        return len(strange)

    def _clone(self, release: Release, name: str) -> str:
        """A new database of the release, with what both roads begin with."""
        template = f"seeded_{_slug(release)}"
        if template not in self._seeded:
            url = create(self._url, template)
            upgrade(python_of(release), url)
            seed(python_of(release), url)
            self._seeded.add(template)
        return create(self._url, f"{name}_{_slug(release)}", template)

    def _say(self, what: str, found: Sequence[Difference]) -> None:
        print(f"{what}: {len(found)}", flush=True)
        if found:
            print(explain(found, self._names), flush=True)


def _send(address: str, scenarios: Sequence[Scenario], more: Mapping[str, str] | None = None) -> list[str]:
    """Sends all to MLflow's `/v1/traces`. Returns what it refuses, each with the name of its scenario."""
    refused = []
    with httpx.Client(base_url=address, timeout=600) as client:
        for scenario in scenarios:
            for exchange in scenario.exchanges:
                headers = {**exchange.headers, "content-type": "application/x-protobuf", **(more or {})}
                answer = client.post("/v1/traces", content=exchange.request.SerializeToString(), headers=headers)
                if answer.status_code != 200:
                    refused.append(f"{scenario.name}: {answer.status_code} {answer.text[:500]}")
    return refused


def _slug(release: Release) -> str:
    return release.version.replace(".", "_")


def table(results: Sequence[Result]) -> list[str]:
    """Markdown."""
    head = ("MLflow", "revision", "shape", "requests", "spans", "rows compared", "known differences", "unknown", "upgraded")
    rows = [
        (
            *(r.release.version, f"`{r.revision}`", r.shape),
            *(f"{n:,}" for n in (r.requests, r.spans, r.rows, r.known, r.unknown)),
            "–" if r.upgraded is None else f"{r.upgraded:,}",
        )
        for r in results
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minors", default=",".join(release.minor for release in RELEASES), help="such as 3.14,3.16")
    parser.add_argument("--only", default="", help="only scenarios whose name has this in it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
