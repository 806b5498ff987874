"""Writes docs/conformance.md from the requirements and the cases: `PYTHONPATH=tests .venv/bin/python -m conformance.page`.

`test_conformance.py` fails where the page is not what this writes.
"""

from pathlib import Path

from conformance import connections, procedures
from conformance.cases import Case
from conformance.exchanges import exchanges
from conformance.repairs import repairs
from conformance.requirements import BINDS_CLIENTS, REQUIREMENTS, TREE, Requirement
from conformance.wire import GRPC, JSON, PROTOBUF, Transport

PAGE = Path(__file__).parent.parent.parent / "docs" / "conformance.md"
CASES: list[Case] = [*exchanges(), *connections.shows.cases, *procedures.shows.cases, *repairs()]

_LETTERS = {PROTOBUF: "P", JSON: "J", GRPC: "G"}

_HEAD = f"""# Conformance

This page lists everything that OTLP {{version}} asks of a server, says how Headrace meets it, and names the tests that show it.
There are {{cases}} test cases. With the transports that each runs over, they make {{runs}} tests. Each test runs against a
`headrace serve` on a real Postgres. The specification is
[docs/specification.md]({TREE}/docs/specification.md) of opentelemetry-proto; L90 is its line 90.

Each case sends a request, and checks the whole answer: the status, the headers, and every byte of the body. Then it reads what
was written to MLflow's tables back as OTLP, and compares that with what was sent. The cases are in `tests/conformance`:

```sh
.venv/bin/python -m pytest tests/world/conformance               # all
.venv/bin/python -m pytest tests/world/conformance -k L518       # of one requirement
```

The column *Shown by* names the cases. The letters before them are the transports that the cases run over: P is OTLP/HTTP with
protobuf, J is OTLP/HTTP with JSON, and G is OTLP/gRPC. For example, the case `gzip` in row L90 has the ids
`L90-gzip[http/protobuf]`, `L90-gzip[http/json]` and `L90-gzip[grpc]`. If a case shows several requirements, its id begins
with the first column of one of them.

*This page is generated from the cases. A test fails if it differs from them.*
"""


def shown_by(requirement: Requirement) -> "dict[str, list[Transport]]":
    """The cases of a requirement, by their ids without the transport."""
    found: dict[str, list[Transport]] = {}
    for case in CASES:
        for transport in case.over:
            if requirement.key in case.rules_of(transport):
                found.setdefault(case.id(transport).partition("[")[0], []).append(transport)
    return found


def broken_cases(requirement: Requirement) -> list[Case]:
    """Those of them that Headrace does not pass."""
    return [case for case in CASES if case.broken and any(requirement.key in case.rules_of(over) for over in case.over)]


def rendered() -> str:
    """The whole page."""
    runs = sum(len(case.over) for case in CASES)
    parts = [_HEAD.format(version="1.11.0", cases=len(CASES), runs=runs)]
    for title, requirements in REQUIREMENTS.items():
        parts.append(f"## {title}\n")
        lines = ["| Where | Level | What is asked | Headrace | Shown by |", "|---|---|---|---|---|"]
        lines += [_row(requirement) for requirement in requirements]
        parts.append("\n".join(lines) + "\n")
    if broken := [case for case in CASES if case.broken]:
        parts.append("## Not yet\n\nHeadrace does not pass these cases yet:\n")
        parts.append("\n".join(f"- `{case.id(case.over[0]).partition('[')[0]}`: {case.broken}." for case in broken) + "\n")
    clients = ", ".join(str(line) for line in BINDS_CLIENTS)
    parts.append(
        "## What binds clients\n\nOther lines of the specification have MUST, SHOULD, MAY or RECOMMENDED, too. They are about "
        f"clients, about forwarders, or about capabilities that OTLP does not have yet: {clients}.\n"
    )
    return "\n".join(parts)


def _row(requirement: Requirement) -> str:
    by_transports: dict[str, list[str]] = {}
    for name, overs in shown_by(requirement).items():
        letters = "".join(letter for over, letter in _LETTERS.items() if over in overs)
        by_transports.setdefault(letters, []).append(f"`{name.removeprefix(f'{requirement.key}-')}`")
    cases = "; ".join(f"{letters}: {', '.join(names)}" for letters, names in by_transports.items())
    meets = requirement.meets + (
        " *Headrace does not do all of this yet: see [Not yet](#not-yet).*" if broken_cases(requirement) else ""
    )
    cells = (f"[{requirement.place}]({requirement.url})", requirement.level, requirement.says, meets, cases)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(rendered())
