"""`headrace up`: Postgres, the MLflow UI and the receiver on one machine, and what it says once they are ready."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.table import Table

from headrace.cli.console import stderr
from headrace.cli.serve import take_ports

if TYPE_CHECKING:
    from rich.status import Status

    from headrace.config import Config
    from headrace.host import Host
    from headrace.local.console import ConsoleProcess
    from headrace.local.keeper import Ready
    from headrace.local.mlflow_server import MlflowServer
    from headrace.local.postgres import EmbeddedPostgres
    from headrace.store.database import Database

_RECEIVER = "receiver"


def up(config: "Config") -> None:
    """Runs until a signal. Ends all that it has started.

    Raises:
        StartError: a part is not installed, cannot start, or has ended without being asked.
    """
    from headrace.local.installed import check_installed

    check_installed()
    with stderr().status("Starting …") as status:  # before the imports: from a cold disk they take seconds
        _up(config, status)
    stderr().print("Headrace has stopped. Everything is kept in", str(config.data_dir), style="dim")


def _up(config: "Config", status: "Status") -> None:
    from headrace.local.console import ConsoleProcess
    from headrace.local.mlflow_server import MlflowServer
    from headrace.local.postgres import EmbeddedPostgres
    from headrace.local.private import PRIVATE
    from headrace.queue.disk.adopt import check_unused

    os.umask(PRIVATE)
    _warn_if_ui_is_open(config)
    if config.default_experiment is None:
        config = config.model_copy(update={"default_experiment": "Default"})
    check_unused(config.data_dir)
    config = _with_ports(config)
    mlflow = MlflowServer(config)
    mlflow.end_leftover()  # no Headrace runs on this directory, so nobody needs that server
    first = not (config.data_dir / "postgres").exists()
    host = take_ports(config)
    console = ConsoleProcess(config, host.port)
    console.end_leftover()
    _check_ports(config)
    with mlflow.warmed_up(), EmbeddedPostgres(config.data_dir / "postgres") as postgres:
        database = host.open(postgres.url)
        status.update("Creating MLflow's tables (first start only) …" if first else "Checking MLflow's tables …")
        _bring_up_to_date(database, mlflow, postgres.url)
        _run(config, host, database, (mlflow, console), postgres, status)
        status.update("Stopping …")


def _bring_up_to_date(database: "Database", mlflow: "MlflowServer", url: str) -> None:
    from headrace.mlflow.installed import newest_revision
    from headrace.mlflow.shape import mlflow_revision

    with database.begin() as connection:
        found = mlflow_revision(connection)
    if found is None or found != newest_revision():  # the MLflow UI beside us accepts that one only
        mlflow.upgrade(url)


def _with_ports(config: "Config") -> "Config":
    """The settings, with a free port wherever the UI, the console or Jaeger's API may have any (0): here it has to be known."""
    from headrace.receiver.listen import free_port

    hosts = {"ui_port": config.ui_host, "console_port": config.console_host, "jaeger_port": config.console_host}
    return config.model_copy(update={name: free_port(host) for name, host in hosts.items() if not getattr(config, name)})


def _check_ports(config: "Config") -> None:
    """Makes sure that the ports of the UI and the console are free: their processes take them later.

    Raises:
        StartError: one is taken. It names the setting.
    """
    from headrace.receiver.listen import bind

    bind(config.ui_host, config.ui_port, "HEADRACE_UI_PORT or --ui-port").close()
    bind(config.console_host, config.console_port, "HEADRACE_CONSOLE_PORT").close()
    bind(config.console_host, config.jaeger_port, "HEADRACE_JAEGER_PORT").close()


def _run(
    config: "Config",
    host: "Host",
    database: "Database",
    beside: "tuple[MlflowServer, ConsoleProcess]",
    postgres: "EmbeddedPostgres",
    status: "Status",
) -> None:
    """Runs the receiver, and beside it the MLflow UI and the console, until a signal."""
    from headrace.host.build import open_database
    from headrace.local.keeper import Keeper, Ready

    mlflow, console = beside
    ready = Ready((_RECEIVER, mlflow.title, console.title), lambda: _ready(config, mlflow.url, console.url, status.stop))
    ui, pages = (Keeper(server, config.ui_patience_seconds, ready) for server in beside)
    try:
        status.update("Starting the MLflow UI …")
        ui.start(postgres.url)
        open_database(database)
        pages.start(postgres.url)  # it needs the tables
        host.run(lambda: _take_requests(config, ready, status), lambda: _check(postgres))
    finally:
        pages.stop()
        ui.stop()


def _take_requests(config: "Config", ready: "Ready", status: "Status") -> None:
    """Says that the receiver takes requests, and what is waited for now."""
    stderr().print(f"Spans are taken at {_base(config)}/v1/traces, {_age():.1f} s after the start. The MLflow UI follows.")
    status.update(f"Waiting for the MLflow UI and the console; their logs are in {config.data_dir} …")
    ready.answers(_RECEIVER)


def _warn_if_ui_is_open(config: "Config") -> None:
    """Warns if others than the users of this machine reach the MLflow UI, which asks for no key."""
    from headrace.config.listen import is_loopback
    from headrace.telemetry.logging import log

    if not is_loopback(config.ui_host):
        log.warning(
            "ANYBODY WHO REACHES THE MLFLOW UI READS, CHANGES AND DELETES ALL OF IT",
            host=config.ui_host,
            mend="leave HEADRACE_UI_HOST at 127.0.0.1, and put a proxy with a login in front of it (docs/security.md)",
        )


def _check(postgres: "EmbeddedPostgres") -> None:
    from headrace.errors import StartError

    if not postgres.running:
        raise StartError(
            "The embedded Postgres has ended without being asked. What was accepted is kept: start Headrace again."
        )


def _ready(config: "Config", ui_url: str, console_url: str, stop_progress: Callable[[], None]) -> None:
    stop_progress()
    _print_panel(config, ui_url, console_url)


def _print_panel(config: "Config", ui_url: str, console_url: str) -> None:
    """Prints what a person needs after the start. Lines to copy stand alone, so that none is wrapped."""
    base = _base(config)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in (
        ("MLflow UI", ui_url),
        ("Console", console_url),
        ("OTLP/HTTP", f"{base}/v1/traces"),
        ("OTLP/gRPC", f"{base.rpartition(':')[0]}:{config.grpc_port}"),
        ("Health", f"{base}/readyz"),
        ("Data", str(config.data_dir)),
    ):
        table.add_row(name, value)
    title = f"Headrace is ready, {_age():.0f} s after the start"
    panel = Panel(table, title=title, subtitle="Ctrl-C stops it", border_style="green", expand=False)
    stderr().print(panel, soft_wrap=False)
    stderr().print(f"Send a first trace:\n\n  {_command('demo')}\n")
    stderr().print(
        "Point a service at it:\n\n"
        f"  export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={base}/v1/traces\n"
        "  export OTEL_EXPORTER_OTLP_TRACES_HEADERS=x-mlflow-experiment-id=0\n"
        "  export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf\n",
    )


def _base(config: "Config") -> str:
    """The URL of OTLP/HTTP, for people of this machine."""
    host = "localhost" if config.host in ("127.0.0.1", "0.0.0.0") else config.host
    return f"{'http' if config.tls_cert is None else 'https'}://{host}:{config.http_port}"


def _age() -> float:
    """Seconds since this process began."""
    import time

    import psutil

    return time.time() - psutil.Process().create_time()


def _command(name: str) -> str:
    """The line that calls this command from the user's shell, with the variables of the ports that are set."""
    script = os.path.relpath(sys.argv[0])
    program = "headrace" if shutil.which("headrace") else "python -m headrace" if script.endswith(".py") else script
    ports = [f"{key}={os.environ[key]}" for key in ("HEADRACE_HTTP_PORT", "HEADRACE_UI_PORT") if key in os.environ]
    return " ".join([*ports, program, name])
