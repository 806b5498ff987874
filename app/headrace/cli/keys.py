"""`headrace keys`: makes, lists and revokes the API keys in the file that HEADRACE_API_KEYS names."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from headrace.cli.console import fail, parse_time, stderr, stdout

if TYPE_CHECKING:
    from headrace.receiver.auth import Keys

keys = typer.Typer(
    rich_markup_mode=None, help="API keys: who may send. Kept in the file that HEADRACE_API_KEYS names.", no_args_is_help=True
)


@keys.command()
def add(
    name: Annotated[str, typer.Argument(help="Who will use it: a service, a team.")],
    experiment: Annotated[
        list[str] | None, typer.Option(help="Id or name of an experiment it may write to; repeat it for more [default: all].")
    ] = None,
    expires: Annotated[str, typer.Option(help="After 90d, 12h, 4w, or on a date, 2027-01-31 [default: never].")] = "",
    spans_per_second: Annotated[float | None, typer.Option(min=0.001, help="Most spans a second [default: no limit].")] = None,
    bytes_per_second: Annotated[float | None, typer.Option(min=1, help="Most bytes a second [default: no limit].")] = None,
) -> None:
    """Make a key and print it. It is shown only now: the file keeps its hash."""
    from headrace.envelope.limit import is_id
    from headrace.receiver.auth import new_key

    key, secret = new_key(name, tuple(experiment or ()), _expiry(expires), spans_per_second, bytes_per_second)
    with _keys() as file:
        file.add(key)
    print(secret)
    headers = f"authorization=Bearer%20{secret}"
    if key.experiments:
        header = "x-mlflow-experiment-id" if is_id(key.experiments[0]) else "x-mlflow-experiment-name"
        headers += f",{header}={quote(key.experiments[0], safe='')}"
    stderr().print(
        f"It is shown only now. In the service:\n\n  export OTEL_EXPORTER_OTLP_TRACES_HEADERS={headers}\n\n"
        "One variable holds all headers: while it is set, SDKs do not read OTEL_EXPORTER_OTLP_HEADERS."
    )


@keys.command("list")
def list_() -> None:
    """Show all keys, without their secrets."""
    from rich.table import Table

    table = Table("id", "name", "experiments", "expires", "spans/s", "bytes/s", "created", box=None, pad_edge=False)
    with _keys() as file:
        found = file.read()
    for key in found:
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}" + (" (over)" if key.expired else "")
        limits = [f"{limit:g}" if limit else "–" for limit in (key.spans_per_second, key.bytes_per_second)]
        table.add_row(key.id, key.name, ", ".join(key.experiments) or "all", expires, *limits, f"{key.created:%Y-%m-%d}")
    stdout().print(table, soft_wrap=False)


@keys.command()
def revoke(name_or_id: Annotated[str, typer.Argument(help="A key's id, or the name of one or more keys.")]) -> None:
    """Revoke keys. A running Headrace refuses them within a second."""
    with _keys() as file:
        revoked = file.revoke(name_or_id)
    if not revoked:
        fail(f"No key has the name or id {name_or_id!r}: see `headrace keys list`.")
    for key in revoked:
        stdout().print(f"Revoked {key.name} ({key.id}).")


@contextmanager
def _keys() -> Iterator["Keys"]:
    """The file of keys. An error with it becomes one message and exit status 1."""
    from headrace.config import load
    from headrace.errors import StartError
    from headrace.receiver.auth import Keys

    try:
        path = load().api_keys
        if path is None:
            raise StartError(
                "HEADRACE_API_KEYS is not set: set it to the path of the file of keys. The file need not exist yet."
            )
        yield Keys(path)
    except StartError as error:
        fail(error)


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    try:
        date = parse_time(text, 1).replace(microsecond=0)
    except (ValueError, OverflowError):
        fail(f"--expires {text!r} is not a time: give 90d, 12h, 4w or a date like 2027-01-31.")
    if date <= datetime.now(timezone.utc):
        fail(f"--expires {text!r} is in the past.")
    return date
