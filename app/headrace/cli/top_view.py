"""What `headrace top` draws: samples of a receiver's numbers → rows of text. Pure; no I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headrace.console.web.format import age, count, duration, rate, share, size
from headrace.console.web.road import Numbers, Road, rates, road_of
from headrace.console.web.senders import Sender

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 60
"""Points of the line of spans a second."""
_MOST_REFUSED = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at a moment."""

    url: str
    samples: Sequence[Numbers]
    """The oldest first; at least one."""
    error: str
    """Why there is no newer one."""
    mlflow: str
    """What MLflow answers."""
    refused: Sequence[Sender]
    """Who was refused of late, the latest first."""
    now: float
    """Unix seconds."""


def draw(seen: Seen) -> RenderableType:
    """All of it."""
    road = road_of(seen.samples, "", seen.now)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in _rows(seen, road):
        table.add_row(name, said)
    title = f"Headrace at {seen.url}"
    if not seen.error:
        return Panel(table, title=title, border_style="green" if _well(road) else "yellow", expand=False)
    since = age(seen.now - seen.samples[-1].time)
    silent = Text(f"No answer for {since}: {seen.error.rstrip('.')}. Below: the last that it said.", "bold red")
    return Panel(Group(silent, table), title=title, border_style="red", expand=False)


def _well(road: Road) -> bool:
    said = road.numbers
    return said is not None and said.ready and said.database and said.tables_fit


def _rows(seen: Seen, road: Road) -> Iterator[tuple[str, Text]]:
    said = road.numbers or seen.samples[-1]
    yield "takes spans", _yes(said.ready, said.reason or "no")
    yield "received", Text(f"{count(said.received)} spans   {rate(road.receiving)}/s   {sparkline(seen.samples)}")
    yield "refused", _reasons(said.refused, "requests")
    yield "rejected", _reasons(said.rejected, "spans and records")
    fill = share(said.queue_bytes, said.queue_max_bytes)
    yield "queue", Text(f"{count(said.queued)} requests   {size(said.queue_bytes)}, {fill} full")
    yield "lag", Text(f"{duration(said.lag * 1e9)} since the oldest of them came", "yellow" if said.lag > 60 else "")
    yield "written", Text(f"{count(said.written)} spans   {rate(road.writing)}/s")
    yield "dead letters", Text(f"{count(said.dead)} spans", "red" if said.dead else "")
    yield "Postgres", _yes(said.database, "does not answer; what is taken waits in the queue", "answers")
    if not said.tables_fit:
        yield "its tables", Text(said.reason or "do not fit", "yellow")
    yield "MLflow", Text(seen.mlflow)
    for each in seen.refused[:_MOST_REFUSED]:
        yield "was refused", Text(f"{age(each.ago)} ago, {each.times}×: {each.reason.replace('_', ' ')} · {each.who}", "dim")


def _yes(well: bool, else_: str, word: str = "yes") -> Text:
    return Text(word, "green") if well else Text(else_, "bold red")


def _reasons(counted: Mapping[str, int], of_what: str) -> Text:
    """`15 requests: 12 malformed body, 3 unauthenticated`."""
    if not counted:
        return Text(f"no {of_what}", "dim")
    listed = ", ".join(f"{count(number)} {reason.replace('_', ' ')}" for reason, number in counted.items())
    return Text(f"{count(sum(counted.values()))} {of_what}: {listed}", "yellow")


def sparkline(samples: Sequence[Numbers], columns: int = _COLUMNS) -> str:
    """Spans received a second, between one sample and the next: the newest on the right. Empty: one sample has no rate."""
    found = [value for _, value in rates(samples[-columns - 1 :], "received")]
    most = max(found, default=0.0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1)) if most else 0] for value in found)
