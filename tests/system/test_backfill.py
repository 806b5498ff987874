"""`headrace backfill` as a process: what it says, and that it may be killed."""

import os
import signal
import subprocess
import sys
from contextlib import closing

from conftest import rows, wait_until
from indexing import TRACE, edges, index, shop, write

from headrace.mlflow.write.bulk import BulkWriter
from headrace.mlflow.write.statements import transaction
from headrace.store.database import Database
from otlp import request, span

WAITS = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'headrace backfill' AND wait_event_type = 'Lock'"


def start(url: str, *arguments: str) -> "subprocess.Popen[str]":
    """`headrace backfill …`, started on this database."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
    command = [sys.executable, "-m", "headrace", "backfill", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment | {"HEADRACE_DATABASE_URL": url}, stdout=pipe, stderr=pipe, text=True)


def said(process: "subprocess.Popen[str]", status: int = 0) -> str:
    """What it says, on stdout and then on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    return out + err


def test_killed_amid_its_work_it_goes_on(database: Database, database_url: str) -> None:
    """A lock on one trace holds it up, once it has covered the other."""
    writer = BulkWriter(database, enrich=True, index=False)
    write(database, *shop(), (0, request(span("x", b"\2" * 16, b"\1" * 8), service="other")), writer=writer)
    covered = "SELECT DISTINCT trace_id FROM headrace.trace_service"
    served = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'headrace backfill'"
    with closing(Database(database_url)) as other:
        for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
            with transaction(other) as (_, cursor):
                cursor.execute("SELECT 1 FROM trace_info WHERE request_id = %s FOR UPDATE", [f"tr-{TRACE.hex()}"])
                process = start(database_url)
                wait_until(lambda: rows(database_url, f"{served} AND wait_event_type = 'Lock'"), 60)
                assert len(rows(database_url, covered)) == 1
                process.send_signal(number)
                wait_until(lambda: process.poll() is not None, 60)  # noqa: B023
            text = said(process, status)
            wait_until(lambda: not rows(database_url, served), 60)  # Postgres notices late that a killed client has gone
        assert "Start it again to go on." in text
    assert said(start(database_url)) == "Indexed 1 traces with 4 spans; 1 were in the index already, or have no spans.\n"
    found = index(database_url), edges(database_url)
    assert len(found[1]) == 2
    assert said(start(database_url)).startswith("Indexed 0 traces")
    assert (index(database_url), edges(database_url)) == found


def test_what_is_wrong_is_one_line(database: Database, database_url: str) -> None:
    assert "--since 'x' is not a time" in said(start(database_url, "--since", "x"), 1)
    assert "MLflow has no experiment 'eight'" in said(start(database_url, "--experiment", "eight"), 1)
    with transaction(database) as (_, cursor):
        cursor.execute("DROP SCHEMA headrace CASCADE")
    assert "no tables of the index yet" in said(start(database_url, "--experiment", "0", "--since", "3d"), 1)
