"""The commands that stand alone: `up`, `serve`, `demo` … Each imports what it needs when it runs, so that help is instant."""

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headrace.cli.dead_letters import dead_letters
from headrace.cli.dialects import dialects
from headrace.cli.keys import keys
from headrace.cli.queue import queue
from headrace.cli.shell import COMPLETES, commands

app = typer.Typer(
    name="headrace",
    help="The OTLP intake for MLflow: OpenTelemetry spans in, MLflow traces in Postgres out.",
    epilog="Every setting is an environment variable, HEADRACE_*: `headrace settings` lists them with their defaults, as "
    "docs/configuration.md does. Those that are options, too, name theirs in the help of their command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take `[default: 4318]` for markup, and costs a third of the time that help takes
)

app.add_typer(keys, name="keys")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(queue, name="queue")
app.add_typer(dialects, name="dialects")

_ALL = "All settings, with their defaults: `headrace settings`."

DataDir = Annotated[
    Path | None,
    typer.Option(help="HEADRACE_DATA_DIR: directory of the queue and, with `up`, of the database [default: ~/.headrace]."),
]
ListenHost = Annotated[str | None, typer.Option(help="HEADRACE_HOST: address to listen on [default: 127.0.0.1].")]
HttpPort = Annotated[int | None, typer.Option(help="HEADRACE_HTTP_PORT: OTLP/HTTP [default: 4318].")]
GrpcPort = Annotated[int | None, typer.Option(help="HEADRACE_GRPC_PORT: OTLP/gRPC [default: 4317].")]
UiPort = Annotated[int | None, typer.Option(help="HEADRACE_UI_PORT: the MLflow UI [default: 5000].")]


def main() -> None:
    """The entry point of the console script. What is wrong with the arguments is one line on stderr, and exit status 2."""
    command = typer.main.get_command(app)
    if COMPLETES in os.environ:  # a shell asks what may follow
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        sys.exit(command.main(prog_name="headrace", complete_var=COMPLETES, standalone_mode=False))
    except typer.Abort:
        print("Aborted.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        say = getattr(error, "format_message", None)  # of click's errors, in whichever package typer has them
        if say is None:
            raise
        _fail_on_arguments(error, say())


def _fail_on_arguments(error: Exception, message: str) -> NoReturn:
    from headrace.cli.console import fail

    if type(error).__name__ == "NoArgsIsHelpError":  # whose message is the help; typer does not export the class
        print(message)
        sys.exit(2)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "headrace"
    fail(f"{' '.join(message.split()).rstrip('.')}. See `{path} --help`.", 2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the versions, MLflow's too, and exit.")] = False,
) -> None:
    if version:
        from headrace.cli.version import tables, versions

        print(*versions(), sep="\n", flush=True)
        print(*tables(), sep="\n")
        raise typer.Exit


@app.command("up", short_help="Run everything here: Postgres, MLflow's UI, the receiver.", epilog=_ALL)
def up_(
    data_dir: DataDir = None,
    host: ListenHost = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    ui_port: UiPort = None,
) -> None:
    """Run everything on this machine: an embedded Postgres, the MLflow UI on it, and the receiver. Ctrl-C stops all of it."""
    print("Starting Postgres, the MLflow UI, the console and the receiver.", file=sys.stderr, flush=True)  # before the imports
    from headrace.cli.command import load_settings, run
    from headrace.cli.up import up

    run(lambda: up(load_settings(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port, ui_port=ui_port)))


@app.command("serve", short_help="Run receiver and writer on an MLflow database.", epilog=_ALL)
def serve_(data_dir: DataDir = None, host: ListenHost = None, http_port: HttpPort = None, grpc_port: GrpcPort = None) -> None:
    """Run the receiver and the writer on the MLflow database of HEADRACE_DATABASE_URL."""
    from headrace.cli.command import load_settings, run
    from headrace.cli.serve import serve

    run(lambda: serve(load_settings(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port)))


@app.command("receive", short_help="Run a receiver, with its queue in Kafka.", epilog=_ALL)
def receive_(data_dir: DataDir = None, host: ListenHost = None, http_port: HttpPort = None, grpc_port: GrpcPort = None) -> None:
    """Run a receiver that puts requests into the topic of HEADRACE_QUEUE_URL. `headrace write` writes them."""
    from headrace.cli.command import load_settings, run
    from headrace.cli.serve import serve

    settings = {"data_dir": data_dir, "host": host, "http_port": http_port, "grpc_port": grpc_port}
    run(lambda: serve(load_settings(**settings), "receive"))


@app.command("write", short_help="Run a writer, with its queue in Kafka.", epilog=_ALL)
def write_(host: ListenHost = None, http_port: HttpPort = None) -> None:
    """Run a writer: it writes what is in the topic of HEADRACE_QUEUE_URL to the MLflow database of HEADRACE_DATABASE_URL."""
    from headrace.cli.command import load_settings, run
    from headrace.cli.serve import serve

    run(lambda: serve(load_settings(host=host, http_port=http_port), "write"))


@app.command("console", short_help="Serve the web pages and Jaeger's storage API on an MLflow database.", epilog=_ALL)
def console_() -> None:
    """Serve the console's web pages and Jaeger's storage API, read-only, on the MLflow database of HEADRACE_DATABASE_URL."""
    from headrace.cli.command import load_settings, run
    from headrace.cli.look import console

    run(lambda: console(load_settings()))


@app.command("backfill", short_help="Index traces that were there before the index was.")
def backfill_(
    experiment: Annotated[str | None, typer.Option(help="Only this experiment: its id or name.")] = None,
    since: Annotated[str, typer.Option(help="Only traces of the last 90m, 2h, 3d, 1w, or since a date, 2027-01-31.")] = "",
) -> None:
    """Index the traces that were written before the index was there, by MLflow itself, or with HEADRACE_INDEX=false.

    In the database of HEADRACE_DATABASE_URL, or of a running `headrace up`. It may run beside writers, and be ended at any
    time: started again, it goes on. Run twice, it changes nothing.
    """
    from headrace.cli.backfill import backfill

    backfill(experiment, since)


class Scenario(str, Enum):
    """What `headrace demo` sends."""

    services = "services"
    agent = "agent"
    pipeline = "pipeline"


@app.command("demo", short_help="Send realistic traces, and print their links.", epilog=_ALL)
def demo_(
    endpoint: Annotated[str, typer.Option(help="OTLP/HTTP URL to send to [default: this machine, HEADRACE_HTTP_PORT].")] = "",
    experiment_id: Annotated[str, typer.Option(help="Id of the MLflow experiment.")] = "0",
    api_key: Annotated[str, typer.Option(help="If Headrace asks for one.")] = "",
    scenario: Annotated[
        list[Scenario] | None, typer.Option(help="HTTP services, an LLM agent, or a training; may be repeated [default: all].")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, max=6000, help="Send so many traces a minute, some slow, some failed.")] = 0,
    duration: Annotated[float, typer.Option(min=0, help="With --rate: stop after so many seconds [default: never].")] = 0,
) -> None:
    """Send a trace of each scenario and print their links in the MLflow UI; with --rate, send traces all the time.

    services: a checkout, a fraud scorer and a model server. agent: memory, retrieval, tools, an error, a slow span, tokens, a
    session, a user. pipeline: from ingest to deployment, with the metrics of its epochs in an MLflow run.
    """
    from headrace.cli.command import run
    from headrace.cli.demo import demo

    run(lambda: demo(endpoint, experiment_id, api_key, [each.value for each in scenario or ()], rate, duration))


@app.command("top", short_help="Watch the road of the spans in a terminal.", epilog=_ALL)
def top_(
    url: Annotated[str, typer.Option(help="URL of the receiver [default: HEADRACE_RECEIVER_URL, else this machine's].")] = "",
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 2,
    once: Annotated[
        bool, typer.Option("--once", help="Print it once, after one interval; so, too, where no terminal is.")
    ] = False,
    api_key: Annotated[
        str, typer.Option(help="A key without limits, to see who was refused where Headrace asks for keys.")
    ] = "",
    ca: Annotated[Path | None, typer.Option(help="PEM certificates that are believed [default: the system's].")] = None,
) -> None:
    """Watch what a receiver takes, refuses, queues and writes, as the console's status page shows it. Ctrl-C ends it.

    It asks `/metrics`, `/readyz` and `/refused` of the receiver, and MLflow (HEADRACE_MLFLOW_URL) for its version. The exit
    status is 1 if nobody answers.
    """
    from headrace.cli.command import run
    from headrace.cli.top import top

    run(lambda: top(url, api_key, ca, interval, once))


@app.command("doctor", short_help="Check everything, and say what to do about what is wrong.", epilog=_ALL)
def doctor_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each check, one a line.")] = False,
    probe: Annotated[bool, typer.Option(help="Send a span, and wait until MLflow shows it. It is deleted again.")] = True,
    experiment_id: Annotated[str, typer.Option(help="Id of the MLflow experiment that the span is sent to.")] = "0",
    api_key: Annotated[str, typer.Option(help="If Headrace asks for one.")] = "",
) -> None:
    """Check settings, disk, ports, keys, certificates, Postgres and MLflow of a Headrace on this machine, and send a span
    through it. Run it with the settings of that Headrace. Each line that is not well says what to do; the exit status is 1 if
    a check failed."""
    from headrace.cli.command import run
    from headrace.cli.doctor import doctor
    from headrace.doctor import Probe

    run(lambda: doctor(Probe(probe, experiment_id, api_key), as_json))


@app.command("retention", short_help="Show, or delete, the traces that are too old or too many.", epilog=_ALL)
def retention_(
    experiment: Annotated[str, typer.Option(help="Only of this experiment: its id or name.")] = "",
    days: Annotated[float | None, typer.Option(min=0.001, help="Those older than so many days.")] = None,
    keep: Annotated[int | None, typer.Option(min=0, help="Those beyond the newest so many of an experiment.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them. Without it nothing is deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each experiment, one a line.")] = False,
) -> None:
    """Show which traces are due by the rules of HEADRACE_RETENTION, or by --days and --keep; --delete deletes them. Traces that
    are tagged with headrace.keep, assessed, linked to a run, or archived by MLflow stay."""
    from headrace.cli.command import run
    from headrace.cli.retention import retention

    run(lambda: retention(experiment, days, keep, delete, as_json))


app.add_typer(commands)  # without a name: they stand beside the others, at the end
