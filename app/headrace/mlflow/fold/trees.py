"""Which figures of a tree of spans count, who speaks for its root, and how a span that comes later changes that. No I/O.

As MLflow's `_aggregate_from_nodes`: a span's figures stand for those of all spans below it, and so do its words. Spans that
hang on no root, as their parents make a circle, do not count.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from typing_extensions import TypeVar

from headrace.mlflow.fold.totals import COST_KEYS, TOKEN_KEYS
from headrace.mlflow.model import Node, Totals, Voices
from headrace.mlflow.model.totals import CALL, Sum, Tally, exact
from headrace.mlflow.model.voices import Choice, answering, asking


class _Kind(NamedTuple):
    """Token usage, costs, or who speaks."""

    of: Callable[[Node], Any]
    """What a span has of it; None: nothing."""
    counted: Callable[[Any], Any] = lambda turn: turn
    """The same, as it is added."""


def _sums(names: Iterable[str]) -> Callable[[Mapping[str, Any]], dict[str, Sum]]:
    known = frozenset(names)

    def sums(figures: Mapping[str, Any]) -> dict[str, Sum]:
        call = figures.get(CALL, "")
        return {f"{key}{call}": exact(figure) for key, figure in figures.items() if key in known}

    return sums


_USAGE = _Kind(lambda node: node.usage, _sums(TOKEN_KEYS))
_COST = _Kind(lambda node: node.cost, _sums(COST_KEYS))
_ASKING = _Kind(lambda node: asking(node.span_id, node.voice))
_ANSWERING = _Kind(lambda node: answering(node.span_id, node.voice))

Known = Mapping[str, Node]
"""Spans that are there, by id."""


def totals_of(nodes: Collection[Node]) -> Totals:
    """The totals of these spans, which are all that there are.

    Raises:
        ValueError, OverflowError: a figure is not a number, or infinite.
    """
    return Totals(_counted(Tally(), nodes, _USAGE), _counted(Tally(), nodes, _COST), voices_of(nodes))


def voices_of(nodes: Collection[Node]) -> Voices:
    """Who speaks of these spans, which are all that there are."""
    return Voices(_counted(Choice(), nodes, _ASKING), _counted(Choice(), nodes, _ANSWERING))


_Counts = TypeVar("_Counts", Tally, Choice)


def _counted(counts: _Counts, nodes: Collection[Node], kind: _Kind) -> _Counts:
    if any(kind.of(node) is not None for node in nodes):
        counts.seen = True
        for parent_id, found in _that_count(nodes, kind):
            counts.add(parent_id, kind.counted(found))
    return counts


def _that_count(nodes: Collection[Node], kind: _Kind) -> Iterator[tuple[str, Any]]:
    """What counts, each with the parent that is not there, below which it is."""
    ids = {node.span_id for node in nodes}
    children: defaultdict[str, list[Node]] = defaultdict(list)
    stack: list[tuple[str, Node]] = []
    for node in nodes:
        if node.parent_id and node.parent_id in ids:
            children[node.parent_id].append(node)
        else:
            stack.append((node.parent_id or "", node))
    while stack:
        above, node = stack.pop()
        if (figures := kind.of(node)) is not None:
            yield above, figures
        else:
            stack.extend((above, child) for child in children.get(node.span_id, ()))


def starts(totals: Totals, nodes: Known) -> set[str]:
    """The spans of whose ancestors `added` must know in order to add these."""
    waited_for = totals.usage.by_parent.keys() | totals.cost.by_parent.keys()
    waited_for |= totals.voices.asking.by_parent.keys() | totals.voices.answering.by_parent.keys()
    if any(_has_any(node) or node.span_id in waited_for for node in nodes.values()):
        return nodes.keys() | {node.parent_id for node in nodes.values() if node.parent_id}
    return set(nodes)


def _has_any(node: Node) -> bool:
    return node.usage is not None or node.cost is not None or node.voice is not None


def added(totals: Totals, nodes: Known, stored: Known) -> bool:
    """Adds spans to the totals of their trace. `stored`: those of the `starts` that are there, with all their ancestors.

    False: all spans have to be looked at, as one of these comes again in another place, with figures where it had none, or with
    something else to say.

    Raises:
        ValueError, OverflowError: a figure is not a number, or infinite.
    """
    again = [(node, before) for span_id, node in nodes.items() if (before := stored.get(span_id))]
    if not all(_alike(node, before) for node, before in again):
        return False
    fresh = [node for span_id, node in nodes.items() if span_id not in stored]
    for kind, tally in ((_USAGE, totals.usage), (_COST, totals.cost)):
        known = dict(stored)
        for node, before in again:
            _change(tally, kind, node, before, known)
        _attach(tally, kind, fresh, known)
    for kind, choice in ((_ASKING, totals.voices.asking), (_ANSWERING, totals.voices.answering)):
        _attach(choice, kind, fresh, dict(stored))
    return True


def _alike(node: Node, before: Node) -> bool:
    """Whether it has the same place and voice as before, and figures of the same names."""
    if node.parent_id != before.parent_id or node.voice != before.voice:
        return False
    return all(_names(kind.of(node)) == _names(kind.of(before)) for kind in (_USAGE, _COST))


def _names(figures: Mapping[str, Any] | None) -> Collection[str] | None:
    return None if figures is None else figures.keys()


def _change(tally: Tally, kind: _Kind, node: Node, before: Node, known: Known) -> None:
    """A span that comes again: the difference counts, if it counts at all."""
    now, then = kind.of(node) or {}, kind.of(before) or {}
    if now != then and (above := _above(node, kind, known)) is not None:
        tally.add(above, kind.counted(then), -1)
        tally.add(above, kind.counted(now))


def _attach(counts: Tally | Choice, kind: _Kind, fresh: Iterable[Node], known: dict[str, Node]) -> None:
    """New spans, one after the other: with each comes what has waited below it, unless its own stands for that."""
    for node in fresh:
        found: Any = counts.by_parent.pop(node.span_id, None)
        if (own := kind.of(node)) is not None:
            counts.seen, found = True, kind.counted(own)
        if found is not None and (above := _above(node, kind, known)) is not None:
            counts.add(above, found)
        known[node.span_id] = node


def _above(node: Node, kind: _Kind, known: Known) -> str | None:
    """The parent that is not there, below which the span is; "" if it is below a root. None: it does not count."""
    seen, span_id = {node.span_id}, node.parent_id
    while span_id:
        if span_id in seen:
            return None
        above = known.get(span_id)
        if above is None:
            return span_id
        if kind.of(above) is not None:
            return None
        seen.add(span_id)
        span_id = above.parent_id
    return ""
