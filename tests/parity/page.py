"""What docs/compatibility.md has from the code: `make docs` writes MLflow's changes, and a run of the oracles their table."""

from collections.abc import Sequence
from pathlib import Path

from parity.changes import CHANGES, REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def write_table(lines: Sequence[str]) -> None:
    """Puts the table of the releases into the page."""
    PAGE.write_text(_between("oracles", PAGE.read_text(), lines))


def with_changes(page: str) -> str:
    """The page with the list of what MLflow has changed, as `changes.py` has it."""
    said = [(change.since, change.words) for change in CHANGES] + [(refused.since, refused.words) for refused in REFUSED]
    rows = [f"| {since or 'each'} | {words} |" for since, words in sorted(said, key=lambda row: row[0] or "9")]
    return _between("changes", page, ["| since | what differs |", "|---|---|", *rows])


def _between(name: str, page: str, lines: Sequence[str]) -> str:
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    if not begin or not end:
        raise ValueError(f"{PAGE} has no place for {name}")
    return "".join((before, begin, "\n".join(lines), "\n", end, after))


if __name__ == "__main__":
    PAGE.write_text(with_changes(PAGE.read_text()))
