"""The command line: what a person sees."""

import os
import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import Launcher, Running, free_port, rows, wait_until

import otlp
from headrace import __version__
from headrace.local import sending


def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")} | settings
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_and_version() -> None:
    versions = run("--version").stdout.splitlines()
    assert versions[:2] == [f"headrace {__version__}", f"MLflow {version('mlflow')} (mlflow)"]
    assert versions[2].startswith("writes MLflow's tables with ")
    assert len(versions) == 3
    said = run("--help").stdout
    assert all(command in said for command in ("up", "serve", "demo", "keys", "dead-letters"))


def test_serve_without_a_database_says_what_to_set() -> None:
    done = run("serve")
    assert done.returncode == 1
    assert "HEADRACE_DATABASE_URL" in done.stderr
    assert "headrace up" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PORT", "seventy"), ("DATABASE_URL", "mysql://user:secret@host/db"), ("ROUTES", "{"), ("ROUTES", '[{"match": {}}]'),
     ("LOG_LEVEL", "loud"), ("MAX_BODY_BYTES", "1")],
)  # fmt: skip
def test_a_wrong_setting_is_named_and_its_value_is_not_repeated(name: str, value: str) -> None:
    done = run("serve", **{f"HEADRACE_{name}": value})
    assert done.returncode == 1
    assert f"HEADRACE_{name}" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_is_reported() -> None:
    assert "HEADRACE_PROT" in run("serve", HEADRACE_PROT="1").stderr
    assert "HEADRACE_HTTP_PORT" in run("serve", HEADRACE_HTTPPORT="1").stderr


@pytest.mark.parametrize(
    "arguments",
    [("nosuch",), ("serve", "--htp-port", "1"), ("serve", "--http-port", "seventy"), ("keys", "revoke"), ("queue", "nosuch"),
     ("dead-letters", "show", "x"), ("up", "extra")],
)  # fmt: skip
def test_a_wrong_argument_is_refused_in_one_line(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("headrace: ")
    assert done.stderr.count("\n") == 1
    assert "--help`" in done.stderr


def test_a_group_without_a_command_shows_its_help() -> None:
    for arguments in ((), ("keys",), ("queue",), ("dead-letters",)):
        assert "Usage:" in run(*arguments).stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("headrace ret", ["retention"]),
        ("headrace dead-letters re", ["replay"]),
        ("headrace retention --d", ["--days", "--delete"]),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, offered: list[str]) -> None:
    asked = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert run(**asked).stdout.split() == offered


def test_bash_takes_the_script_of_completion() -> None:
    script = run("completion", "bash").stdout
    done = subprocess.run(["bash", "-c", f"{script}\ncomplete -p headrace"], capture_output=True, text=True, check=False)
    assert "_headrace_completion headrace" in done.stdout
    assert "give bash, zsh or fish" in run("completion", "tcsh").stderr


def test_help_shows_defaults_and_where_all_settings_stand() -> None:
    said = run("up", "--help").stdout
    for default in ("[default: 127.0.0.1]", "[default: 4318]", "[default: 4317]", "[default: 5000]", "[default: ~/.headrace]"):
        assert default in said
    assert "headrace settings" in said
    assert "headrace settings" in run("--help").stdout
    assert "HEADRACE_UI_PATIENCE_SECONDS [default: 60]" in run("settings").stdout
    assert "[default: never]" in run("keys", "add", "--help").stdout


@pytest.mark.parametrize("python", ["nosuch", "/no/such/python"])
def test_make_says_that_a_python_is_not_there(python: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(["make", "install", f"PYTHON={python}"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"There is no '{python}' here" in done.stderr


def test_a_taken_port_names_the_process_and_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("up", "--http-port", str(taken.getsockname()[1]), HEADRACE_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("Starting Postgres")  # at once, before anything is imported or tried
    assert f"process {os.getpid()}" in done.stderr
    assert "HEADRACE_HTTP_PORT" in done.stderr


def test_demo_without_a_server_says_so() -> None:
    done = run("demo", HEADRACE_HTTP_PORT=str(free_port()))
    assert done.returncode == 1
    assert "headrace up" in done.stderr


def test_demo_prints_the_traces_links(up: Running) -> None:
    """Of each scenario one: and MLflow has what makes it worth a look."""
    done = run("demo", HEADRACE_HTTP_PORT=up.url.rpartition(":")[2], HEADRACE_UI_PORT=up.ui_url.rpartition(":")[2])
    assert done.returncode == 0, done.stderr
    links = done.stdout.split()
    assert all(link.startswith("http://localhost:") for link in links)
    services, agent, pipeline = (
        httpx.get(f"{up.ui_url}/api/3.0/mlflow/traces/{link.rpartition('=')[2]}").json()["trace"]["trace_info"]
        for link in links
    )
    assert {trace["state"] for trace in (services, agent, pipeline)} == {"OK"}
    assert agent["trace_metadata"]["mlflow.trace.session"] == "support-4711"
    assert agent["trace_metadata"]["mlflow.trace.user"] == "ada"
    assert '"total_tokens": 1217' in agent["trace_metadata"]["mlflow.trace.tokenUsage"]
    assert "leaves our warehouse" in agent["response_preview"]
    run_id = done.stderr.strip().rpartition("/")[2]
    asked = {"run_id": run_id, "metric_key": "accuracy"}
    history = wait_until(
        lambda: httpx.get(f"{up.ui_url}/api/2.0/mlflow/metrics/get-history", params=asked).json().get("metrics"), 30
    )
    assert [point["step"] for point in history] == [1, 2, 3, 4, 5]
    status = httpx.get(f"{up.ui_url}/api/2.0/mlflow/runs/get", params={"run_id": run_id}).json()["run"]["info"]["status"]
    assert status == "FINISHED"


def test_demo_sends_many_and_stops(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    done = run(
        "demo",
        "--endpoint",
        f"{running.url}/v1/traces",
        "--scenario",
        "services",
        "--scenario",
        "agent",
        "--rate",
        "1200",
        "--duration",
        "1.2",
    )
    assert done.returncode == 0, done.stderr
    sent = int(done.stderr.split()[1])
    assert sent > 1
    wait_until(running.drained)
    assert len(rows(database_url, "SELECT DISTINCT request_preview FROM trace_info")) == sent


@pytest.mark.slow("config parts local host receiver cli")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_every_child_and_finds_all_traces_again(headrace: Launcher, number: int) -> None:
    """(SIGINT goes to the process alone here; on a terminal it goes to the group, which the children have left.)"""
    running = headrace("up")
    wait_until(running.shows_panel, 90)
    panel = running.log.read_text()
    for line in (running.ui_url.rpartition(":")[2], f":{running.url.rpartition(':')[2]}/v1/traces", "demo", "Ctrl-C"):
        assert line in panel
    ports = {"HEADRACE_HTTP_PORT": running.url.rpartition(":")[2], "HEADRACE_UI_PORT": running.ui_url.rpartition(":")[2]}
    trace_id = run("demo", **ports).stdout.strip().rpartition("=")[2]
    tree = psutil.Process(running.process.pid).children(recursive=True)
    data = str(headrace.directory / "data")
    tree += [
        p for p in psutil.process_iter(["name", "cmdline"]) if p.info["name"] == "postgres" and data in str(p.info["cmdline"])
    ]
    assert any("mlflow" in str(process.cmdline()) for process in tree)
    assert any(process.name() == "postgres" for process in tree)
    running.process.send_signal(number)
    assert running.process.wait(60) == 0
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert not alive
    assert "Traceback" not in running.log.read_text()

    again = headrace("up")
    wait_until(again.shows_panel, 90)
    assert httpx.get(f"{again.ui_url}/api/3.0/mlflow/traces/{trace_id}").status_code == 200


@pytest.mark.slow("config parts local host receiver cli")
def test_up_after_sigkill_takes_over_what_was_left_behind(headrace: Launcher) -> None:
    running = headrace("up")
    wait_until(running.shows_panel, 90)
    running.kill()
    http, ui = running.url.rpartition(":")[2], running.ui_url.rpartition(":")[2]
    again = headrace("up", http_port=http, ui_port=ui, console_port=0, jaeger_port=0)  # 0: the panel says which it is
    wait_until(again.shows_panel, 90)
    console = re.search(r"Console\s+(\S+)", again.log.read_text())
    assert console is not None
    assert httpx.get(f"{console[1]}/traces").status_code == 200
    assert again.stop() == 0


def test_a_second_headrace_on_the_same_data_is_refused(headrace: Launcher, database_url: str) -> None:
    headrace(database_url=database_url)
    second = headrace(database_url=database_url, wait=False)
    assert second.process.wait(30) == 1
    assert "HEADRACE_DATA_DIR" in second.log.read_text()


def test_demo_says_why_it_was_refused_and_takes_a_key(headrace: Launcher, database_url: str) -> None:
    keys = str(headrace.directory / "keys.json")
    key = run("keys", "add", "demo", HEADRACE_API_KEYS=keys).stdout.strip()
    running = headrace("serve", database_url=database_url, api_keys=keys)
    endpoint = ("--endpoint", f"{running.url}/v1/traces")
    refused = run("demo", *endpoint)
    assert refused.returncode == 1
    assert "answered 401: Headrace asks for an API key" in " ".join(refused.stderr.split())
    assert "--api-key" in refused.stderr
    sent = run(
        "demo", *endpoint, "--scenario", "services", "--api-key", key, HEADRACE_UI_PORT=str(free_port())
    )  # no UI: accepted all the same
    assert sent.returncode == 0, sent.stderr
    wait_until(running.drained)
    assert len(rows(database_url, "SELECT 1 FROM spans")) == 6


@pytest.mark.parametrize(
    "module",
    [
        "headrace.cli.main",
        "headrace.cli.up",
        "headrace.host.build",
        "headrace.export.worker",
        "headrace.receiver.http",
        "headrace.mlflow.schema",
        "headrace.reader.postgres",
        "headrace.console.web.server",
        "headrace.console.jaeger",
    ],
)
def test_mlflow_is_imported_lazily(module: str) -> None:
    code = f"import sys, {module}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_command_loads_the_libraries_that_mlflow_has_for_models() -> None:
    """Where the whole MLflow is installed, as here, it imports them if it may. With the core alone they are not there."""
    code = """if True:
        import sys
        from headrace.cli.command import run
        def use_all():
            import headrace.host.build, headrace.mlflow.fallback, headrace.mlflow.write.bulk
        run(use_all)
        heavy = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "flask", "huey", "docker", "graphene", "skops"}
        print(sorted(name for name in heavy if sys.modules.get(name)))"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_psycopg_works_without_the_libraries() -> None:
    """It has dumpers for numpy's numbers, and looks for numpy when it first has to tell one integer from another."""
    code = """if True:
        from headrace.mlflow.libraries import leave_out_libraries
        leave_out_libraries()
        from psycopg.adapt import PyFormat, Transformer
        assert Transformer().dump_sequence([[0], ["a"]], [PyFormat.AUTO] * 2) == [b"{0}", b"{a}"]"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worker_s_process_makes_no_metrics_before_they_are_shared() -> None:
    """What is imported to find the function that a worker runs: metrics made by then would be this process's alone."""
    code = "import sys, headrace.host.one_process, headrace.host.supervisor; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow("config parts local host receiver cli")
def test_spans_are_taken_while_the_mlflow_ui_is_slow_and_after_it_has_ended(headrace: Launcher) -> None:
    """Its start takes seconds, so that a patience of a fifth of one is over: that is said, and ends nothing."""
    running = headrace("up", ui_patience_seconds=0.2)
    server = headrace.directory / "data" / "mlflow-server.pid"
    first = wait_until(lambda: server.exists() and server.read_text())
    body = otlp.request(otlp.span()).SerializeToString()
    assert running.post(body, x_mlflow_experiment_id="0").status_code == 200
    said = wait_until(lambda: [line for line in running.log.read_text().splitlines() if "does not answer yet" in line])
    assert "mlflow-server.log" in said[0]
    wait_until(running.shows_panel, 90)
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: server.read_text() not in ("", first))
    assert "a server of `up` has ended: starting it again" in running.log.read_text()
    assert running.post(body, x_mlflow_experiment_id="0").status_code == 200
    wait_until(lambda: "a server of `up` answers again" in running.log.read_text(), 90)
    assert httpx.get(f"{running.ui_url}/health").status_code == 200
    assert running.stop() == 0


@pytest.mark.slow("config parts local host receiver cli")
def test_up_stops_at_once_while_it_waits_for_the_mlflow_ui(headrace: Launcher) -> None:
    running = headrace("up")
    os.kill(int((headrace.directory / "data" / "mlflow-server.pid").read_text()), signal.SIGSTOP)
    running.process.terminate()
    assert running.process.wait(40) == 0


def test_help_imports_neither_rich_nor_the_settings() -> None:
    code = "import sys, headrace.cli.main; sys.exit(bool({'rich', 'pydantic', 'google', 'fastapi'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nobody_waits_long_for_a_mlflow_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_AWAY_SECONDS", 0.0)
    assert not sending.wait_visible(sending.opener(), f"http://127.0.0.1:{free_port()}", "tr-1", seconds=3600)
