"""The commands `headrace up`, `serve` and `demo`. A command imports what it needs when it runs, so that help is instant."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.panel import Panel
from rich.table import Table

from headrace import __version__
from headrace.cli.console import fail, stderr
from headrace.cli.dead_letters import dead_letters
from headrace.cli.keys import keys
from headrace.cli.queue import queue

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.host import Host
    from headrace.local.mlflow_server import MlflowServer
    from headrace.local.postgres import EmbeddedPostgres

app = typer.Typer(
    name="headrace",
    help="The OTLP intake for MLflow: OpenTelemetry spans in, MLflow traces in Postgres out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(keys, name="keys")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(queue, name="queue")

DataDir = Annotated[
    Path | None, typer.Option(help="HEADRACE_DATA_DIR: directory of the queue and, with `up`, of the database.")
]
ListenHost = Annotated[str | None, typer.Option(help="HEADRACE_HOST: address to listen on [default: 127.0.0.1].")]
HttpPort = Annotated[int | None, typer.Option(help="HEADRACE_HTTP_PORT: OTLP/HTTP [default: 4318].")]
GrpcPort = Annotated[int | None, typer.Option(help="HEADRACE_GRPC_PORT: OTLP/gRPC [default: 4317].")]
UiPort = Annotated[int | None, typer.Option(help="HEADRACE_UI_PORT: the MLflow UI [default: 5000].")]


def main() -> None:
    """The entry point of the console script."""
    app()


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def up(
    data_dir: DataDir = None,
    host: ListenHost = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    ui_port: UiPort = None,
) -> None:
    """Run everything on this machine: an embedded Postgres, the MLflow UI on it, and the receiver. Ctrl-C stops all of it."""
    _run(lambda: _up(_load(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port, ui_port=ui_port)))


@app.command()
def serve(data_dir: DataDir = None, host: ListenHost = None, http_port: HttpPort = None, grpc_port: GrpcPort = None) -> None:
    """Run the receiver and the writer on the MLflow database of HEADRACE_DATABASE_URL."""
    _run(lambda: _serve(_load(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port)))


@app.command()
def demo(
    endpoint: Annotated[str, typer.Option(help="OTLP/HTTP URL to send to [default: this machine, HEADRACE_HTTP_PORT].")] = "",
    experiment_id: Annotated[str, typer.Option(help="Id of the MLflow experiment.")] = "0",
    api_key: Annotated[str, typer.Option(help="If Headrace asks for one.")] = "",
) -> None:
    """Send one realistic multi-service trace and print its link in the MLflow UI."""
    _run(lambda: _demo(endpoint, experiment_id, api_key))


def _up(config: "Config") -> None:
    from headrace.errors import StartError
    from headrace.host.build import open_database
    from headrace.local.mlflow_server import MlflowServer, upgrade_mlflow_schema
    from headrace.local.postgres import EmbeddedPostgres
    from headrace.local.private import PRIVATE
    from headrace.mlflow.schema import verify_mlflow_schema
    from headrace.queue.disk.adopt import check_unused
    from headrace.receiver.listen import bind

    os.umask(PRIVATE)
    _warn_if_ui_is_open(config)
    if config.default_experiment is None:
        config = config.model_copy(update={"default_experiment": "Default"})
    check_unused(config.data_dir)
    mlflow = MlflowServer(config)
    mlflow.end_leftover()  # no Headrace runs on this directory, so nobody needs that server
    first = not (config.data_dir / "postgres").exists()
    host = _open_host(config)
    bind(config.ui_host, config.ui_port, "HEADRACE_UI_PORT or --ui-port").close()
    with stderr.status("Starting Postgres …") as status, EmbeddedPostgres(config.data_dir / "postgres") as postgres:
        database = host.open(postgres.url)
        status.update("Creating MLflow's tables (first start only) …" if first else "Checking MLflow's tables …")
        try:
            with database.begin() as connection:
                verify_mlflow_schema(connection)
        except StartError:
            upgrade_mlflow_schema(postgres.url)
        try:
            status.update("Starting the MLflow UI …")
            mlflow.start(postgres.url)
            open_database(database)
            host.run(lambda: _ready(config, mlflow, status.stop), lambda: _check(mlflow, postgres))
            status.update("Stopping …")
        finally:
            mlflow.stop()
    stderr.print("Headrace has stopped. Everything is kept in", str(config.data_dir), style="dim")


def _check(mlflow: "MlflowServer", postgres: "EmbeddedPostgres") -> None:
    from headrace.errors import StartError

    if not postgres.running:
        raise StartError(
            "The embedded Postgres has ended without being asked. What was accepted is kept: start Headrace again."
        )
    if not mlflow.running:
        raise StartError(f"MLflow's server has ended. The end of {mlflow.log}:\n{mlflow.log_tail()}")


def _ready(config: "Config", mlflow: "MlflowServer", stop_progress: Callable[[], None]) -> None:
    mlflow.wait()
    stop_progress()
    _print_panel(config, mlflow.url)


def _serve(config: "Config") -> None:
    from headrace.errors import StartError
    from headrace.host.build import open_database
    from headrace.local.private import PRIVATE
    from headrace.telemetry.logging import log

    os.umask(PRIVATE)
    if config.database_url is None:
        raise StartError(
            "HEADRACE_DATABASE_URL is not set: point it at MLflow's Postgres, `postgresql://user:password@host:5432/db`.\n"
            "Or run `headrace up`, which brings a Postgres and an MLflow UI along."
        )
    host = _open_host(config)
    open_database(host.open(config.database_url.get_secret_value()))
    host.run(
        lambda: log.info("ready", host=config.host, http_port=host.port, grpc_port=host.grpc_port, workers=config.workers),
        lambda: None,
    )


def _open_host(config: "Config") -> "Host":
    from headrace.host.choose import open_host

    _warn_if_open(config)
    return open_host(config)


def _demo(endpoint: str, experiment_id: str, api_key: str) -> None:
    import time
    import urllib.error

    from headrace.errors import StartError
    from headrace.local.demo import demo_requests, send, wait_visible

    config = _load()
    scheme = "http" if config.tls_cert is None else "https"
    endpoint = endpoint or f"{scheme}://localhost:{config.http_port}/v1/traces"
    ui_url = f"http://localhost:{config.ui_port}"
    trace_id, requests = demo_requests(time.time_ns())
    headers = {"x-mlflow-experiment-id": experiment_id} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
    started = time.monotonic()
    try:
        for request in requests:
            send(endpoint, request, headers)
    except urllib.error.HTTPError as error:
        hint = " Give `headrace demo` the option --api-key." if error.code == 401 and not api_key else ""
        raise StartError(f"{endpoint} answered {error.code}: {_message(error.read())}{hint}") from None
    except urllib.error.URLError as error:
        raise StartError(f"Nothing answers at {endpoint} ({error.reason}). Is `headrace up` running?") from None
    stderr.print(f"Sent 6 spans of 3 services to {endpoint}.")
    if wait_visible(ui_url, trace_id, 10):
        stderr.print(f"Visible in MLflow after {time.monotonic() - started:.1f} s:")
        print(trace_url(ui_url, experiment_id, trace_id))
    else:
        stderr.print(f"Accepted, but no MLflow at {ui_url} shows it yet. The trace is {trace_id}.")


def _message(body: bytes) -> str:
    """The message in an OTLP receiver's error; if the answer is another server's, its first 500 bytes."""
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return str(Status.FromString(body).message)
    except DecodeError:
        return repr(body[:500])


def trace_url(ui_url: str, experiment_id: str, trace_id: str) -> str:
    """The page of MLflow's UI that shows one trace."""
    return f"{ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}"


def _print_panel(config: "Config", ui_url: str) -> None:
    """Prints what a person needs after the start. Lines to copy stand alone, so that none is wrapped."""
    host = "localhost" if config.host in ("127.0.0.1", "0.0.0.0") else config.host
    scheme = "http" if config.tls_cert is None else "https"
    base = f"{scheme}://{host}:{config.http_port}"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in (
        ("MLflow UI", ui_url),
        ("OTLP/HTTP", f"{base}/v1/traces"),
        ("OTLP/gRPC", f"{scheme}://{host}:{config.grpc_port}"),
        ("Health", f"{base}/readyz"),
        ("Data", str(config.data_dir)),
    ):
        table.add_row(name, value)
    panel = Panel(table, title="Headrace is ready", subtitle="Ctrl-C stops it", border_style="green", expand=False)
    stderr.print(panel, soft_wrap=False)
    stderr.print(f"Send a first trace:\n\n  {_command('demo')}\n")
    stderr.print(
        "Point a service at it:\n\n"
        f"  export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT={base}/v1/traces\n"
        "  export OTEL_EXPORTER_OTLP_TRACES_HEADERS=x-mlflow-experiment-id=0\n"
        "  export OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf\n",
    )


def _command(name: str) -> str:
    """The line that calls this command from the user's shell, with the variables of the ports that are set."""
    script = os.path.relpath(sys.argv[0])
    program = "headrace" if shutil.which("headrace") else "python -m headrace" if script.endswith(".py") else script
    ports = [f"{key}={os.environ[key]}" for key in ("HEADRACE_HTTP_PORT", "HEADRACE_UI_PORT") if key in os.environ]
    return " ".join([*ports, program, name])


def _load(**overrides: object) -> "Config":
    """Loads the settings, sets up logging, and warns of HEADRACE_ variables that are no setting."""
    from headrace.config import MLFLOW_DEFAULTS, load, unknown_variables
    from headrace.telemetry.logging import configure_logging, log

    os.environ.update(MLFLOW_DEFAULTS | os.environ)
    config = load(**overrides)
    configure_logging(config.log_format, config.log_level)
    for name in unknown_variables(dict(os.environ)):
        log.warning("unknown setting ignored", variable=name)
    return config


def _warn_if_open(config: "Config") -> None:
    """Warns if anybody who reaches the address may write: it is not loopback, and neither keys nor client certificates are
    asked for."""
    from headrace.telemetry.logging import log

    if not config.on_loopback and config.api_keys is None and config.tls_client_ca is None:
        log.warning(
            "ANYBODY WHO REACHES THIS ADDRESS MAY WRITE",
            host=config.host,
            mend="set HEADRACE_API_KEYS (`headrace keys add NAME`) or HEADRACE_TLS_CLIENT_CA",
        )


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


def _run(command: Callable[[], None]) -> None:
    """Runs a command. A `HeadraceError` becomes one message and exit status 1; Ctrl-C and SIGTERM end it cleanly."""
    from headrace.errors import HeadraceError

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        command()
    except KeyboardInterrupt:
        pass
    except HeadraceError as error:
        fail(error)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
