"""The commands that stand alone: `up`, `serve`, `demo` … Each imports what it needs when it runs, so that help is instant."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headrace.cli.dead_letters import dead_letters
from headrace.cli.dialects import dialects
from headrace.cli.keys import keys
from headrace.cli.queue import queue

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

_COMPLETES = "_HEADRACE_COMPLETE"
"""The variable with which a shell's completion script calls us."""

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
    if _COMPLETES in os.environ:  # a shell asks what may follow
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    try:
        sys.exit(command.main(prog_name="headrace", complete_var=_COMPLETES, standalone_mode=False))
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
    from headrace.cli.command import load_settings, run
    from headrace.cli.up import up

    run(lambda: up(load_settings(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port, ui_port=ui_port)))


@app.command("serve", short_help="Run receiver and writer on an MLflow database.", epilog=_ALL)
def serve_(data_dir: DataDir = None, host: ListenHost = None, http_port: HttpPort = None, grpc_port: GrpcPort = None) -> None:
    """Run the receiver and the writer on the MLflow database of HEADRACE_DATABASE_URL."""
    from headrace.cli.command import load_settings, run
    from headrace.cli.serve import serve

    run(lambda: serve(load_settings(data_dir=data_dir, host=host, http_port=http_port, grpc_port=grpc_port)))


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


@app.command("demo", short_help="Send one realistic trace, and print its link.", epilog=_ALL)
def demo_(
    endpoint: Annotated[str, typer.Option(help="OTLP/HTTP URL to send to [default: this machine, HEADRACE_HTTP_PORT].")] = "",
    experiment_id: Annotated[str, typer.Option(help="Id of the MLflow experiment.")] = "0",
    api_key: Annotated[str, typer.Option(help="If Headrace asks for one.")] = "",
    rate: Annotated[float, typer.Option(min=0, max=6000, help="Send so many traces a minute, some slow, some failed.")] = 0,
    duration: Annotated[float, typer.Option(min=0, help="With --rate: stop after so many seconds [default: never].")] = 0,
) -> None:
    """Send one realistic multi-service trace and print its link in the MLflow UI; with --rate, send traces all the time."""
    from headrace.cli.command import run
    from headrace.cli.demo import demo

    run(lambda: demo(endpoint, experiment_id, api_key, rate, duration))


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


@app.command("healthy", short_help="Ask whether the Headrace of this machine lives.")
def healthy_() -> None:
    """Ask `/healthz` of this machine's Headrace, with the environment's settings: exit status 0 if it lives, else 1 and why.

    Health checks of containers run `python -m headrace.cli.healthy`, which is the same and five times as quick.
    """
    from headrace.cli.healthy import main

    main()


@app.command("completion", short_help="Print the script that completes commands in a shell.")
def completion_(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script with which a shell completes the commands and options of headrace.

    bash: `headrace completion bash >> ~/.bashrc`; zsh: `headrace completion zsh >> ~/.zshrc`;
    fish: `headrace completion fish > ~/.config/fish/completions/headrace.fish`.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell not in ("bash", "zsh", "fish"):
        raise typer.BadParameter("give bash, zsh or fish", param_hint="SHELL")
    print(get_completion_script(prog_name="headrace", complete_var=_COMPLETES, shell=shell))


@app.command("settings", short_help="List every setting, its default and its meaning.")
def settings_() -> None:
    """List every setting: its environment variable, its default and its meaning."""
    from headrace.cli.settings import settings

    print(settings())
