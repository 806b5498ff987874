"""Where the services of a dependency map stand: in layers, callers left of what they call, with few crossings.

It is Sugiyama's method: edges that close a circle are turned around, each node's layer is the longest way to it (the shortest,
where circles make that way long), and the order within a layer follows the middle of its neighbours, in a few
sweeps. Nothing recurses. Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for Visual Understanding of Hierarchical
System Structures", 1981.
"""

from collections.abc import Iterable, Mapping, Sequence

_SWEEPS = 4
_MANY = 6
"""Layers, from which on a graph with circles is laid out by the shortest ways: where all call all, the longest way goes through
each node, and every layer would have one.
"""
Pair = tuple[str, str]


def layers(pairs: Iterable[Pair]) -> list[list[str]]:
    """Edges, from a node to another → the nodes of each layer, in their order; callers come in earlier layers."""
    edges = sorted({pair for pair in pairs if pair[0] != pair[1]})
    nodes = sorted({name for pair in edges for name in pair})
    forward = _without_circles(nodes, edges)
    depth = _depths(nodes, forward)
    if max(depth.values(), default=0) >= _MANY and forward != edges:
        depth = _nearest(nodes, edges)
    found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in nodes:
        found[depth[name]].append(name)
    return _ordered(found, forward)


def _neighbours(edges: Iterable[Pair], *, above: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for caller, callee in edges:
        key, value = (callee, caller) if above else (caller, callee)
        found.setdefault(key, []).append(value)
    return found


def _without_circles(nodes: Sequence[str], edges: Sequence[Pair]) -> list[Pair]:
    """The edges; those that lead back to a node on the way to them are turned. Nodes that nobody calls come first."""
    below = _neighbours(edges, above=False)
    called = {callee for _, callee in edges}
    done: set[str] = set()
    on_way: set[str] = set()
    back: set[Pair] = set()
    for begun in sorted(nodes, key=lambda name: (name in called, name)):
        stack = [(begun, iter(below.get(begun, ())))] if begun not in done else []
        on_way.update(name for name, _ in stack)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                on_way.discard(name)
                done.add(name)
            elif following in on_way:
                back.add((name, following))
            elif following not in done:
                on_way.add(following)
                stack.append((following, iter(below.get(following, ()))))
    return sorted({(pair[1], pair[0]) if pair in back else pair for pair in edges})


def _depths(nodes: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The longest way to each node, in edges."""
    above, below = _neighbours(edges, above=True), _neighbours(edges, above=False)
    waiting = {name: len(above.get(name, ())) for name in nodes}
    depth = dict.fromkeys(nodes, 0)
    ready = [name for name in nodes if not waiting[name]]
    while ready:
        name = ready.pop()
        for following in below.get(name, ()):
            depth[following] = max(depth[following], depth[name] + 1)
            waiting[following] -= 1
            if not waiting[following]:
                ready.append(following)
    return depth


def _nearest(nodes: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The shortest way to each node, in edges, from those that nobody calls; from one of a circle that no way leads to."""
    below, called = _neighbours(edges, above=False), {callee for _, callee in edges}
    depth: dict[str, int] = {}
    first = [name for name in nodes if name not in called]
    for begun in (first, *([name] for name in nodes)):
        reached = [name for name in begun if name not in depth]
        number = 0
        while reached:
            depth |= dict.fromkeys(reached, number)
            reached = [each for name in reached for each in below.get(name, ()) if each not in depth]
            number += 1
    return depth


def _ordered(found: list[list[str]], edges: Sequence[Pair]) -> list[list[str]]:
    above, below = _neighbours(edges, above=True), _neighbours(edges, above=False)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        place = {name: number / max(1, len(layer)) for layer in found for number, name in enumerate(layer)}
        for layer in found if down else reversed(found):
            layer.sort(key=lambda name: (_middle(name, above if down else below, place), name))
            place |= {name: number / len(layer) for number, name in enumerate(layer)}
    return found


def _middle(name: str, neighbours: Mapping[str, Sequence[str]], place: Mapping[str, float]) -> float:
    """The middle of a node's neighbours; its own place if it has none."""
    places = [place[each] for each in neighbours.get(name, ())]
    return sum(places) / len(places) if places else place[name]
