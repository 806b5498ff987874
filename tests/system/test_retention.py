"""`headrace retention`: shows what is due, and deletes it only if asked to."""

import json
import time

from conftest import Launcher, rows, wait_until

import otlp
from system.test_cli import run

DAY_NS = 86_400_000_000_000


def test_what_is_due_is_shown_and_deleted_on_demand(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    now = time.time_ns()
    spans = [otlp.span("old" if age else "new", start=now - age * DAY_NS) for age in (0, 40, 41)]
    assert running.post(otlp.request(*spans).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    wait_until(running.drained)
    named = {"HEADRACE_DATABASE_URL": database_url}
    nothing = run("retention", **named)
    assert nothing.returncode == 1
    assert "HEADRACE_RETENTION" in nothing.stderr
    rules = named | {"HEADRACE_RETENTION": json.dumps([{"experiment": "Default", "days": 30}])}
    said = run("retention", **rules)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["Would delete 2 traces of Default (0).", "Nothing was deleted: --delete does it."]
    unknown = run("retention", "--experiment", "nosuch", **rules)
    assert unknown.returncode == 1
    assert "'nosuch'" in unknown.stderr
    assert len(rows(database_url, "SELECT 1 FROM trace_info")) == 3
    done = run("retention", "--delete", "--json", "--days", "30", "--experiment", "0", **named)
    expected = {"experiment_id": 0, "experiment": "Default", "deleted": True, "traces": 2, "stay": {}}
    assert json.loads(done.stdout) == expected
    assert [row["trace_name"] for row in rows(database_url, "SELECT trace_name FROM trace_info")] == ["new"]


def test_serve_deletes_by_itself_what_the_rules_say(headrace: Launcher, database_url: str) -> None:
    """The thread is there; when it looks, tests/db has."""
    running = headrace(database_url=database_url, retention='[{"days": 30}]')
    assert running.ready()["status"] == "ready"
    assert running.stop() == 0
