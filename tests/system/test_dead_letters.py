"""`headrace dead-letters`: what could not be written is seen, mended, and written after all, or dropped."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import Launcher, Running, rows, wait_until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from parity.compare import diff, explain, snapshot

import otlp
from headrace.cli.letter_text import describe, printable
from headrace.config import Config
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.errors import StartError
from headrace.export.exporter import Exporter
from headrace.export.worker import Worker
from headrace.mlflow.experiments import Experiments
from headrace.mlflow.schema import open_writer
from headrace.otlp.json_encoding import decode_json
from headrace.otlp.signals import TRACES
from headrace.queue.disk.queue import DiskQueue
from headrace.store.database import Database
from headrace.store.dead_letters import DeadLetter, check_table, count, drop, newest, store
from headrace.store.letter_selection import Selection

Shell = Callable[..., str]


def start(*arguments: str, **settings: str) -> "subprocess.Popen[str]":
    """`headrace dead-letters …`, started."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")} | settings
    command = [sys.executable, "-m", "headrace", "dead-letters", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def run(*arguments: str, status: int = 0, **settings: str) -> str:
    """What it says, on stdout and then on stderr."""
    process = start(*arguments, **settings)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, out + err
    assert "Traceback" not in err
    return out + err


@pytest.fixture
def letters(database_url: str) -> Shell:
    """`letters("list")` → what the command says of this test's database."""
    return lambda *arguments, status=0: run(*arguments, status=status, HEADRACE_DATABASE_URL=database_url)


def delivery(
    *spans: Span, experiment: str = "0", name: str = "", agent: str = "", key: str = "", run_id: str = "", **resource: Any
) -> Delivery:
    destination = pb.Destination(experiment_id=experiment, experiment_name=name, routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(otlp.request(*spans, **resource), (destination,), run_id, otlp.START, agent, key)


def letter(what: Delivery, reason: str = "because") -> DeadLetter:
    return DeadLetter(0, what.to_envelope(), what, reason)


def refuse(url: str, condition: str) -> None:
    """Makes Postgres refuse all spans for which this does not hold."""
    with psycopg.connect(url) as connection:
        connection.execute(f"ALTER TABLE spans ADD CONSTRAINT no_poison CHECK ({condition})")


def mend(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE spans DROP CONSTRAINT no_poison")


def make_experiments(url: str, *names: str) -> list[str]:
    """Their ids, the same in each fresh database."""
    create = (
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES (%s, %s, 'active') RETURNING experiment_id"
    )
    with psycopg.connect(url) as connection:
        made = [connection.execute(create, (name, f"mlflow-artifacts:/{name}")).fetchone() for name in names]
    return [str(row[0]) for row in made if row]


def work(config: Config, url: str, directory: Path, deliveries: Sequence[Delivery]) -> None:
    """All of it through the queue and the worker, a few requests a batch."""
    with closing(DiskQueue(directory, 1 << 26)) as queue, closing(Database(url)) as database:
        exporter = Exporter(database, Experiments(database, create=False, cache_seconds=60), {TRACES: open_writer})
        worker = Worker(config, queue, database, exporter)
        for offered in [queue.offer(what.to_envelope()) for what in deliveries]:
            offered.result(5)
        while queue.size().items:
            worker.export_once()
            queue.drain(0.1)


def assert_same_tables(left: str, right: str) -> None:
    """All of MLflow's tables and ours, but for the count of writes that MLflow keeps for its caches."""
    differences = [one for one in diff(snapshot(left), snapshot(right)) if one.column != "db_payload_generation"]
    assert not differences, explain(differences, {})
    # Of an origin's traces, the one that was written last is noted: a replay comes later.
    for table in ("(SELECT digest, origin, used_on FROM headrace.origin)", "headrace.movable_trace", "headrace.dead_letter"):
        query = f"SELECT * FROM {table} AS compared ORDER BY 1"
        assert rows(left, query) == rows(right, query)


def many_traces(experiments: Sequence[str]) -> list[Delivery]:
    """Traces of several services in several requests, LLM calls with usage, sessions, runs, routes that the root decides.
    Each span whose name ends with `!` will be poison."""
    checkout, agent = experiments
    usage = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.output_tokens": 7}
    found = []
    for number, poison in enumerate(("root", "score", "llm", "none", "root llm", "root score llm")):
        names = {name: f"{name}{'!' if name in poison.split() else ''}" for name in ("root", "score", "llm")}
        trace, root, score = bytes([number + 1]) * 16, b"r" * 8, b"s" * 8
        begin = {"http.request.method": "POST", "url.path": "/checkout", "session.id": f"s{number}"}
        found += [
            delivery(otlp.span(names["score"], trace, score, root, attrs={"user.id": "zoe"}), experiment=agent,
                     service="scorer", region="us", zone="b"),
            delivery(otlp.span(names["llm"], trace, b"l" * 8, score, attrs=usage | {"gen_ai.usage.input_tokens": number + 1}),
                     experiment=agent, service="agent", zone="a"),
            delivery(otlp.span(names["root"], trace, root, attrs=begin), experiment=checkout, service="checkout", region="eu",
                     run_id="r" * 32),
        ]  # fmt: skip
        if number % 2:
            for what in found[-3:]:
                what.destinations[0].routed_by = pb.ROUTED_BY_RULE  # so that the root's place is the trace's
    return found


def together(deliveries: Sequence[Delivery]) -> Delivery:
    """The same spans in one request, as a Collector sends them."""
    request = ExportTraceServiceRequest()
    for one in deliveries:
        request.MergeFrom(one.request)
    return replace(deliveries[0], request=request, destinations=tuple(d for one in deliveries for d in one.destinations))


@pytest.mark.parametrize("requests", ["many", "one"])
def test_replay_after_the_fault_makes_the_rows_of_a_first_success(
    config: Config, new_database: Callable[[], str], tmp_path: Path, requests: str
) -> None:
    good, bad = new_database(), new_database()
    experiments = [make_experiments(url, "checkout", "agent") for url in (good, bad)]
    deliveries = many_traces(experiments[0])
    if requests == "one":
        deliveries = [together(deliveries)]
    work(config, good, tmp_path / "good", deliveries)
    refuse(bad, "name NOT LIKE '%!'")
    work(config, bad, tmp_path / "bad", deliveries)
    assert len(rows(bad, "SELECT 1 FROM spans")) == 10
    assert len(rows(bad, "SELECT 1 FROM headrace.dead_letter")) == 8
    mend(bad)
    assert "Replayed 8 of 8 dead letters." in run("replay", "--all", HEADRACE_DATABASE_URL=bad)
    assert_same_tables(good, bad)


def test_a_replay_killed_between_write_and_delete_loses_nothing_and_doubles_nothing(
    config: Config, new_database: Callable[[], str], tmp_path: Path
) -> None:
    good, bad = new_database(), new_database()
    ids = [((n // 4 + 1).to_bytes(16, "big"), (n + 1).to_bytes(8, "big")) for n in range(2000)]
    deliveries = [delivery(otlp.span("work", *both)) for both in ids]
    work(config, good, tmp_path / "good", deliveries)
    with closing(Database(bad)) as database:
        store(database, [letter(what) for what in deliveries])
    with psycopg.connect(bad) as holder:
        # Who holds one of the letters lets the third batch be written, but not be deleted.
        holder.execute("SELECT 1 FROM headrace.dead_letter WHERE id = 1300 FOR UPDATE")
        process = start("replay", "--all", HEADRACE_DATABASE_URL=bad)
        wait_until(lambda: len(rows(bad, "SELECT 1 FROM spans")) == 1500, 60)
        process.kill()
        process.communicate(timeout=10)
    assert len(rows(bad, "SELECT 1 FROM headrace.dead_letter")) == 1000
    assert "Replayed 1000 of 1000 dead letters." in run("replay", "--all", HEADRACE_DATABASE_URL=bad)
    assert_same_tables(good, bad)


def test_one_bad_letter_costs_only_itself(database: Database, database_url: str, letters: Shell) -> None:
    refuse(database_url, "name <> 'bad'")
    store(database, [letter(delivery(otlp.span(name)), "an older reason") for name in ("a", "bad", "b", "c")])
    store(database, [DeadLetter(0, b"\xff\xff", None, "an older reason")])
    said = letters("replay", "1", "2", "3", "5", status=1)
    assert "Replayed 2 of 4 dead letters." in said
    assert "2 dead letters failed again" in said
    assert "       1  Postgres refuses the rows (23514: new row" in said
    assert "       1  unreadable envelope" in said
    assert {row["name"] for row in rows(database_url, "SELECT name FROM spans")} == {"a", "b"}
    kept = rows(database_url, "SELECT id, reason FROM headrace.dead_letter ORDER BY id")
    assert [row["id"] for row in kept] == [2, 4, 5]
    assert "violates check constraint" in kept[0]["reason"]
    assert kept[1]["reason"] == "an older reason"


def test_replay_into_another_experiment(database: Database, database_url: str, letters: Shell) -> None:
    (shop,) = make_experiments(database_url, "shop")
    store(database, [letter(delivery(otlp.span("by id"), experiment="4711"))])
    store(database, [letter(delivery(otlp.span("by name"), experiment="", name="never made"))])
    store(database, [letter(delivery(otlp.span("other"), experiment="4712"))])
    before = rows(database_url, "SELECT * FROM headrace.dead_letter ORDER BY id")
    assert "no experiment with the id or name 'shopp'" in letters("replay", "--all", "--to", "shopp", status=1)
    dry = letters("replay", "--experiment", "4711", "--to", "shop", "--dry-run")
    assert "Would replay 1 dead letter" in dry
    assert "shop (--to)" in dry
    assert rows(database_url, "SELECT * FROM headrace.dead_letter ORDER BY id") == before
    letters("replay", "1", "2", "--to", "shop")
    found = rows(database_url, "SELECT name, experiment_id FROM spans ORDER BY name")
    assert found == [{"name": "by id", "experiment_id": int(shop)}, {"name": "by name", "experiment_id": int(shop)}]
    assert rows(database_url, "SELECT experiment_id FROM headrace.dead_letter") == [{"experiment_id": "4712"}]
    assert rows(database_url, "SELECT 1 FROM experiments WHERE name = 'never made'") == []


@pytest.fixture
def mixed(database: Database, database_url: str) -> list[Span]:
    """Four letters, 1 to 4; the third is two days old."""
    spans = [otlp.span(f"span {n}", bytes([n]) * 16) for n in range(1, 4)]
    detail = 'Postgres refuses the rows (23514: new row violates "no_poison" DETAIL: Failing row contains (tr-{}).)'
    store(database, [letter(delivery(spans[0], agent="OTel Python/1.30", key="checkout"), detail.format("01" * 16))])
    store(database, [letter(delivery(spans[1], name="Shop", agent="OTel Java/2"), detail.format("02" * 16))])
    store(database, [letter(delivery(spans[2], experiment="7", key="Basket 100%"), "MLflow has no experiment with id 7.")])
    store(database, [DeadLetter(0, b"\xff\xfe\x1b", None, "unreadable envelope: Wire format was corrupt")])
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE headrace.dead_letter SET created_at = now() - interval '2 days' WHERE id = 3")
    return spans


def test_each_filter_selects(database: Database, mixed: list[Span]) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    for selection, expected in {
        Selection(): [4, 3, 2, 1],
        Selection(ids=(1, 4, 9)): [4, 1],
        Selection(experiment="0"): [2, 1],
        Selection(experiment="Shop"): [2],
        Selection(trace="tr-" + "01" * 16): [1],
        Selection(trace="0202"): [2],
        Selection(reason="NO EXPERIMENT"): [3],
        Selection(since=yesterday): [4, 2, 1],
        Selection(client="python"): [1],
        Selection(client="CHECK"): [1],
        Selection(client="100%"): [3],
        Selection(client="1_0"): [],
        Selection(newest=2): [2, 1],
        Selection(experiment="0", client="java"): [2],
    }.items():
        assert [found.id for found in newest(database, selection, 10)] == expected, selection
        assert count(database, selection, "reason").total() == len(expected)
    assert [found.id for found in newest(database, Selection(), 2)] == [4, 3]
    kinds = count(database, Selection(), "reason")
    assert list(kinds.values()) == [2, 1, 1]
    assert 'Postgres refuses the rows (23514: new row violates "no_poison")' in kinds
    assert count(database, Selection(), "experiment") == {"0": 1, "0 (Shop)": 1, "7": 1, "(unreadable)": 1}


def test_list_shows_a_table_the_kinds_and_json(mixed: list[Span], letters: Shell) -> None:
    said = letters("list", "--limit", "3").splitlines()
    assert [line.split()[0] for line in said[1:4]] == ["4", "3", "2"]
    assert "3 of 4 dead letters:" in said
    assert '       2  Postgres refuses the rows (23514: new row violates "no_poison")' in said
    filters = ("--experiment", "0", "--trace", "0101", "--reason", "poison", "--since", "3h", "--client", "Check")
    (line,) = letters("list", "--json", *filters).splitlines()
    found = json.loads(line)
    assert (found["id"], found["key_name"], found["user_agent"]) == (1, "checkout", "OTel Python/1.30")
    assert (found["trace_id"], found["span_id"]) == (mixed[0].trace_id.hex(), mixed[0].span_id.hex())
    assert datetime.fromisoformat(found["received_at"]) == datetime.fromtimestamp(otlp.START / otlp.SECOND, timezone.utc)


def test_show_has_everything_and_gives_the_bytes_to_other_tools(
    mixed: list[Span], database_url: str, letters: Shell, tmp_path: Path
) -> None:
    head, _, content = letters("show", "1").partition("\n\n")
    for line in (
        "reason      Postgres refuses",
        "API key     checkout",
        "user agent  OTel Python/1.30",
        "by the request's header",
    ):
        assert line in head
    assert decode_json(content.encode()) == (otlp.request(mixed[0]), 0)
    assert "an ExportTraceServiceRequest" in letters("show", "1", "--raw", str(tmp_path / "letter"))
    assert ExportTraceServiceRequest.FromString((tmp_path / "letter").read_bytes()) == otlp.request(mixed[0])
    assert "no dead letter 77" in letters("show", "77", status=1)


def test_an_unreadable_letter_is_shown_and_given_as_it_is(mixed: list[Span], letters: Shell, tmp_path: Path) -> None:
    said = letters("show", "4")
    assert "Unreadable (" in said
    assert "ff fe 1b" in said
    assert "unreadable" in letters("show", "4", "--raw", str(tmp_path / "letter"))
    assert (tmp_path / "letter").read_bytes() == b"\xff\xfe\x1b"


def test_drop_asks_and_drops_what_was_chosen(mixed: list[Span], database: Database, letters: Shell) -> None:
    assert "Say which" in letters("drop", status=1)
    assert "Would drop 2 dead letters:" in letters("drop", "--reason", "no_poison", "--dry-run")
    assert "Aborted" in letters("drop", "--reason", "no_poison", status=1)  # nobody is there to say yes
    assert count(database, Selection(), "reason").total() == 4
    assert "Dropped 2 dead letters." in letters("drop", "--reason", "no_poison", "--yes")
    assert [found.id for found in newest(database, Selection(), 10)] == [4, 3]


def test_what_comes_later_is_left_alone(mixed: list[Span], database: Database) -> None:
    """`--all` is all that there was when the command began, so that neither a drop nor a replay meets a letter unseen."""
    assert drop(database, Selection(newest=3)) == 3
    assert [found.id for found in newest(database, Selection(), 10)] == [4]


def test_the_name_of_the_key_travels(headrace: Launcher, database_url: str, letters: Shell) -> None:
    file = str(headrace.directory / "keys.json")
    command = [sys.executable, "-m", "headrace", "keys", "add", "team checkout"]
    made = subprocess.run(command, env=os.environ | {"HEADRACE_API_KEYS": file}, capture_output=True, text=True, check=True)
    running = headrace(database_url=database_url, api_keys=file)
    refuse(database_url, "name <> 'poison'")
    body = otlp.request(otlp.span("poison"), otlp.span("good")).SerializeToString()
    headers = {"x_api_key": made.stdout.strip(), "x_mlflow_experiment_id": "0", "user_agent": "shop/7"}
    running.post(body, **headers).raise_for_status()
    wait_until(running.drained)
    (line,) = letters("list", "--json", "--client", "team CHECK").splitlines()
    assert (json.loads(line)["key_name"], json.loads(line)["user_agent"]) == ("team checkout", "shop/7")


def test_without_a_database_it_says_what_to_do(tmp_path: Path, database: Database) -> None:
    said = run("list", status=1, HEADRACE_DATA_DIR=str(tmp_path))
    assert "HEADRACE_DATABASE_URL" in said
    assert "headrace up" in said
    assert "Postgres is away" in run("list", status=1, HEADRACE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE headrace.dead_letter DROP COLUMN key_name")
    with pytest.raises(StartError, match="was made by an older Headrace"):
        check_table(database)
    with database.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA headrace CASCADE")
    with pytest.raises(StartError, match="is not there"):
        check_table(database)


def test_it_finds_the_database_of_a_running_up(up: Running) -> None:
    said = run("list", HEADRACE_DATA_DIR=str(up.log.parent / "data"))
    assert "dead letters" in said


def test_what_a_client_sent_cannot_drive_the_terminal(database: Database) -> None:
    evil = "\x1b]0;title\x07\x9b2J\r\n"
    store(database, [letter(delivery(otlp.span(evil), name=evil, agent=evil, key=evil), evil)])
    (found,) = newest(database, Selection(), 1)
    said = describe(found, delivery(otlp.span(evil), name=evil).to_envelope())
    assert not set(said) & {"\x1b", "\x07", "\r", "\x9b"}
    assert printable("a\nb\x1b[c") == "a b\ufffd[c"
