"""`make structure`: the house of app/headrace in figures. Generated code does not count."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sources import PACKAGE, nodes, trees

LONG_FUNCTION, MANY_PARAMETERS = 25, 5
_SHOWN = 5


class Function(NamedTuple):
    """One function or method. `parameters`: those that its callers give."""

    place: str
    lines: int
    parameters: int


def modules() -> Counter[str]:
    """Each module's lines."""
    return Counter({_name(path): len(path.read_text().splitlines()) for path in trees()})


def functions() -> Iterator[Function]:
    """All functions, in the order of their modules."""
    for path in trees():
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                number = sum(each.arg not in ("self", "cls") for each in given)
                yield Function(f"{_name(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1, number)


def arrows() -> dict[str, set[str]]:
    """Room → the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in trees():
        room = _name(path).split("/")[0].removesuffix(".py")
        uses = found.setdefault(room, set())
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.module:
                uses |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                uses |= {alias.name for alias in node.names}
    ours = {room: {name.split(".")[1] for name in names if name.startswith("headrace.")} for room, names in found.items()}
    return {room: uses & ours.keys() - {room} for room, uses in ours.items() if not room.startswith("_")}


def _name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def report() -> Iterator[str]:
    """The lines that `make structure` prints."""
    sizes, uses, all_functions = modules(), arrows(), list(functions())
    yield f"{len(uses)} rooms, {sum(map(len, uses.values()))} arrows between them, {len(sizes)} modules, {sizes.total()} lines"
    yield f"{len(all_functions)} functions of {median(each.lines for each in all_functions):g} lines (median)"
    yield "\nLongest modules"
    yield from (f"{lines:6}  {name}" for name, lines in sizes.most_common(_SHOWN))
    long = sorted((each for each in all_functions if each.lines > LONG_FUNCTION), key=lambda each: -each.lines)
    yield f"\nFunctions of more than {LONG_FUNCTION} lines: {len(long)}"
    yield from (f"{each.lines:6}  {each.place}" for each in long[:_SHOWN])
    many = sorted((each for each in all_functions if each.parameters > MANY_PARAMETERS), key=lambda each: -each.parameters)
    yield f"\nFunctions of more than {MANY_PARAMETERS} parameters: {len(many)}"
    yield from (f"{each.parameters:6}  {each.place}" for each in many[:_SHOWN])
    yield "\nWhat each room imports"
    yield from (f"  {room:10}  {' '.join(sorted(others)) or '-'}" for room, others in sorted(uses.items()))


if __name__ == "__main__":
    print("\n".join(report()))
