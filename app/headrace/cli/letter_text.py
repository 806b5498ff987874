"""Dead letters as text for people. Control characters in what clients sent are replaced: they could control a terminal."""

import json
from collections.abc import Iterable

from google.protobuf.message import DecodeError
from rich.table import Table
from rich.text import Text

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.signals import TRACES
from headrace.store.dead_letters import Letter

_TIME = "%Y-%m-%d %H:%M:%S"
_WIDE = 150
_MAX_DUMPED = 1024
_ROUTED_BY = {
    pb.ROUTED_BY_HEADER: "the request's header",
    pb.ROUTED_BY_RESOURCE: "the resource's attribute",
    pb.ROUTED_BY_RULE: "a rule of HEADRACE_ROUTES",
    pb.ROUTED_BY_DEFAULT: "HEADRACE_DEFAULT_EXPERIMENT",
}


def printable(value: str) -> str:
    """The text in one line. White space becomes a blank, other unprintable characters U+FFFD."""
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in value)


def letters_table(letters: list[Letter], width: int) -> Table:
    """One line for each letter, at most `width` characters. Ids are shortened if `width` is small; the reason is cut to what is
    left."""
    table = Table("id", "time (UTC)", "experiment", "trace", "span", "client", "reason", box=None, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    ids, client = (32, 60) if width >= _WIDE else (8, 16)
    for letter in letters:
        cells = (
            f"{letter.created_at:{_TIME}}",
            _cut(letter.experiment_name or letter.experiment_id, client),
            _cut(letter.trace_id or "", ids),
            _cut(letter.span_id or "", ids),
            _cut(letter.key_name or letter.user_agent, client),
        )
        reason = Text(printable(letter.reason), no_wrap=True, overflow="ellipsis")
        table.add_row(str(letter.id), *map(Text, cells), reason)
    return table


def describe(letter: Letter, envelope: bytes) -> str:
    """Everything that is known of a letter, and its records as OTLP/JSON. If the envelope cannot be read, its first bytes in
    hex."""
    lines = {
        "dead letter": str(letter.id),
        "failed": f"{letter.created_at:{_TIME}} UTC",
        "received": f"{letter.received_at:{_TIME}} UTC",
        "reason": letter.reason,
        "API key": letter.key_name,
        "user agent": letter.user_agent,
    }
    try:
        delivery = Delivery.from_envelope(envelope)
    except (DecodeError, ValueError) as error:
        content = f"Unreadable ({error}); its {len(envelope)} bytes, in hex:\n\n{_dump(envelope)}"
    else:
        lines |= _of_delivery(delivery) | {"trace": letter.trace_id or "", "span": letter.span_id or ""}
        content = json.dumps(encode_json(delivery.request, delivery.signal.form), indent=2)
    head = "\n".join(f"{name:<12}{printable(value)}" for name, value in lines.items() if value)
    return f"{head}\n\n{content}"


def _of_delivery(delivery: Delivery) -> dict[str, str]:
    """What an envelope says: which signal it has, where it goes, and what its key may write. Traces are not named."""
    return {
        "signal": "" if delivery.signal is TRACES else delivery.signal.name,
        "experiment": "; ".join(map(_destination, delivery.destinations)),
        "run": delivery.run_id or "; ".join(_runs(delivery.destinations)),
        "key for": "" if delivery.limit is None else str(delivery.limit),
    }


def otlp_of(envelope: bytes) -> bytes | None:
    """The bytes of the OTLP request in an envelope; None if the envelope or the request cannot be read."""
    try:
        Delivery.from_envelope(envelope)
    except (DecodeError, ValueError):
        return None
    return pb.Envelope.FromString(envelope).request


def _runs(destinations: Iterable[pb.Destination]) -> list[str]:
    """The runs that metrics go to, each once."""
    return list(dict.fromkeys(each.run_id or each.run_name for each in destinations if each.run_id or each.run_name))


def _destination(destination: pb.Destination) -> str:
    if destination.forward:
        return "none: passed on to HEADRACE_METRICS_FORWARD"
    id_, name = destination.experiment_id, destination.experiment_name
    by = _ROUTED_BY.get(destination.routed_by)
    return (f"{id_} ({name})" if id_ and name else id_ or name) + (f", by {by}" if by else "")


def _cut(value: str, length: int) -> str:
    value = printable(value)
    return value if len(value) <= length else f"{value[: length - 1]}…"


def _dump(data: bytes) -> str:
    lines = [data[first : first + 32].hex(" ") for first in range(0, min(len(data), _MAX_DUMPED), 32)]
    return "\n".join([*lines, "…"] if len(data) > _MAX_DUMPED else lines)
