"""The faults' table: one row a fault, in spans; `refused` is in requests."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from faults.load import Ledger, Tally, verify

COLUMNS = ("fault", "times", "acknowledged", "stored", "lost", "doubled", "refused")


@dataclass
class Row:
    """What one fault has done so far."""

    fault: str
    times: int = 0
    tally: Tally = field(default_factory=Tally)
    ledgers: list[Ledger] = field(default_factory=list)
    """Not verified yet."""

    def verify(self, url: str) -> Tally:
        """Compares all that it was promised with the tables; the queue must be empty."""
        for ledger in self.ledgers:
            self.tally += verify(url, ledger)
        self.ledgers.clear()
        return self.tally

    def plain(self) -> tuple[str, int, tuple[int, ...]]:
        """What `as_lines` takes."""
        return self.fault, self.times, astuple(self.tally)

    def cells(self) -> list[str]:
        """As in `COLUMNS`."""
        return [self.fault, *(f"{getattr(self, name, None) or getattr(self.tally, name, 0):,}" for name in COLUMNS[1:])]


def lines(rows: list[Row]) -> list[str]:
    """The table, with a sum at its end, as lines of text that are Markdown as well."""
    total = Row("all", sum(row.times for row in rows), sum((row.tally for row in rows), Tally()))
    cells = [list(COLUMNS), *(row.cells() for row in [*rows, total])]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    texts = [
        "| "
        + " | ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
        + " |"
        for row in cells
    ]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [texts[0], rule, *texts[1:]]


def as_lines(rows: Sequence[tuple[str, int, tuple[int, ...]]]) -> list[str]:
    """The table of such rows; nothing where there are none."""
    return lines([Row(fault, times, Tally(*tally)) for fault, times, tally in rows]) if rows else []
