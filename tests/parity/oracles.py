"""Each release of MLflow is an oracle: the whole corpus through its own server, and through Headrace, into its own tables.

    PYTHONPATH=tests .venv/bin/python -m parity.oracles [--minors 3.14,3.16] [--only TEXT]

Each release has an environment of its own, in HEADRACE_ORACLES (by default ~/.cache/headrace-oracles), made with uv where it is
at hand. Headrace translates as the MLflow does that is installed with it; what MLflow itself has changed since a release is in
`releases.py`, with the reason.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from conftest import free_port, wait_until

from headrace.config import sqlalchemy_url
from headrace.local.postgres import EmbeddedPostgres
from headrace.mlflow.schema import open_writer
from headrace.mlflow.shape import look
from headrace.mlflow.write.bulk import BulkWriter
from headrace.store.database import Database
from headrace.telemetry.logging import configure_logging
from parity.compare import diff, explain, snapshot, unknown
from parity.corpus import Scenario, corpus, names_of
from parity.databases import MLFLOW_SETTINGS
from parity.environments import python_of
from parity.quick import write_all
from parity.releases import RELEASES, Release, unexplained

_HERE = Path(__file__).parents[2]
_SEED = "import sys; from parity.databases import seed; seed(sys.argv[1])"


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
    unknown: int


def main() -> int:
    """Prints a table of the releases; the exit status is 1 where something differs that nobody has explained."""
    arguments = _arguments()
    os.environ.update(MLFLOW_SETTINGS | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    configure_logging("console", "error")
    scenarios = [scenario for scenario in corpus() if arguments.only in scenario.name]
    with tempfile.TemporaryDirectory(prefix="headrace-oracles-") as directory:
        Path(directory).chmod(0o711)
        with EmbeddedPostgres(Path(directory) / "pg") as postgres:
            releases = [release for release in RELEASES if release.minor in arguments.minors.split(",")]
            results = [ask(release, postgres.url, scenarios) for release in releases]
    print("\n".join(table(results)))
    return any(result.unknown for result in results)


def ask(release: Release, url: str, scenarios: Sequence[Scenario]) -> Result:
    """Both roads for one release, in databases of its own."""
    python, slug = python_of(release), release.version.replace(".", "_")
    seeded, theirs, ours = (url.replace("/mlflow?", f"/{name}_{slug}?") for name in ("seeded", "theirs", "ours"))
    _create(url, f"seeded_{slug}", "template0")
    _run(python, "-m", "mlflow", "db", "upgrade", sqlalchemy_url(seeded))
    _run(python, "-c", _SEED, seeded)
    for name in ("theirs", "ours"):
        _create(url, f"{name}_{slug}", f"seeded_{slug}")
    exchanges = [exchange for scenario in scenarios for exchange in scenario.exchanges]
    refused = _through_mlflow(python, theirs, scenarios)
    revision, shape = _through_headrace(ours, scenarios)
    left, right = snapshot(theirs), snapshot(ours)
    names = names_of(scenarios)
    found = [one for one in unknown(diff(left, right), names) if names.get(one.trace_id or "") not in refused]
    strange = unexplained(release, found)
    print(f"MLflow {release.version}: {len(found)} differences, {len(strange)} unknown; it refused {sorted(refused)}")
    print(explain(strange, names))
    count = sum(len(rows) for rows in left.values())
    spans = sum(len(exchange.spans) for exchange in exchanges)
    return Result(release, revision, shape, len(exchanges), spans, count, len(found) - len(strange), len(strange))


def _through_headrace(url: str, scenarios: Sequence[Scenario]) -> tuple[str, str]:
    database = Database(url)
    writer = open_writer(database, enrich=False)
    assert isinstance(writer, BulkWriter), url
    with database.begin() as connection:
        schema = look(connection)
    assert schema is not None
    failures = write_all(writer, [exchange for scenario in scenarios for exchange in scenario.exchanges])
    database.close()
    for failure, count in Counter(failures).most_common(5):
        print(f"{count} requests were not written: {failure}")
    return schema.revision, str(schema.shape and schema.shape.name)


def _through_mlflow(python: Path, url: str, scenarios: Sequence[Scenario]) -> set[str]:
    """Sends all to the release's own server; returns the scenarios that it did not take as a whole."""
    refused = set()
    with _server(python, url) as address, httpx.Client(base_url=address, timeout=60) as client:
        for scenario in scenarios:
            for exchange in scenario.exchanges:
                headers = {**exchange.headers, "content-type": "application/x-protobuf"}
                answer = client.post("/v1/traces", content=exchange.request.SerializeToString(), headers=headers)
                if answer.status_code != 200:
                    refused.add(scenario.name)
    return refused


@contextmanager
def _server(python: Path, url: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = [
            *(str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", sqlalchemy_url(url), "--artifacts-destination", directory),
        ]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: _answers(f"http://127.0.0.1:{port}/health"), 600, "MLflow's server")
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _create(url: str, name: str, template: str) -> None:
    with psycopg.connect(url.replace("/mlflow?", "/postgres?"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())


def _run(python: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{_HERE / 'app'}{os.pathsep}{_HERE / 'tests'}"}
    done = subprocess.run([str(python), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments[:4]} failed: {done.stderr[-1500:]}")


def table(results: Sequence[Result]) -> list[str]:
    """Markdown."""
    head = ("MLflow", "revision", "shape", "requests", "spans", "rows compared", "known differences", "unknown")
    rows = [
        (r.release.version, f"`{r.revision}`", r.shape, *(f"{n:,}" for n in (r.requests, r.spans, r.rows, r.known, r.unknown)))
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
