"""`headrace dialects`: the tables by which the spans of agent frameworks are read, and what they find in a request."""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.console import stdout

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

dialects = typer.Typer(
    rich_markup_mode=None,
    help="The tables by which spans of agent frameworks are read: docs/frameworks.md. HEADRACE_DIALECTS adds your own.",
    no_args_is_help=True,
)

_WIDTH = 100
"""Characters of a value that are shown."""


@dialects.command("list")
def list_() -> None:
    """List the dialects in the order in which they are asked."""
    from headrace.cli.command import load_settings, run

    def show() -> None:
        from rich.table import Table

        from headrace.mlflow.translate.dialects import known

        table = Table("dialect", "rules", "about", "file", box=None, pad_edge=False)
        for one in known(load_settings().dialects).tables:
            table.add_row(one.name, str(len(one.rules)), one.about, one.file)
        stdout().print(table)

    run(show)


@dialects.command()
def explain(
    file: Annotated[
        Path, typer.Argument(help="A captured request to /v1/traces: JSON or protobuf, compressed with gzip or not.")
    ],
    full: Annotated[bool, typer.Option("--full", help="Print whole values.")] = False,
) -> None:
    """Show which rule said what of each span in a captured request. Nothing is sent or written."""
    from headrace.cli.command import load_settings, run

    def show() -> None:
        from headrace.mlflow.translate.dialects import known
        from headrace.mlflow.translate.explain import explain as explain_span

        known_dialects = known(load_settings().dialects)
        for resource in _read(file).resource_spans:
            for scope in resource.scope_spans:
                where = f"scope {json.dumps(scope.scope.name, ensure_ascii=False)}"
                for span in scope.spans:
                    print(f"{json.dumps(span.name, ensure_ascii=False)}  (span {span.span_id.hex()}, {where})")
                    for attribute, value, by in explain_span(span, scope.scope.name, known_dialects):
                        shown = value if full or len(value) <= _WIDTH else f"{value[: _WIDTH - 1]}…"
                        print(f"    {attribute:<22} {shown}\n    {'':<22} by {by}")

    run(show)


def _read(file: Path) -> "ExportTraceServiceRequest":
    """The request in a file.

    Raises:
        StartError: it cannot be read, or is none.
    """
    from headrace.errors import HeadraceError, StartError
    from headrace.otlp.codec import Encoding, decode

    try:
        body = file.read_bytes()
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        is_json = body.lstrip()[:1] == b"{"
        request: ExportTraceServiceRequest = decode(body, Encoding.JSON if is_json else Encoding.PROTOBUF)[0]
        return request
    except (OSError, EOFError, HeadraceError) as error:
        raise StartError(f"{file} cannot be read as a request to /v1/traces: {error}") from None
