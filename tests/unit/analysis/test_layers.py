"""The layers of the dependency map, for any edges."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analysis.layers import layers

NAMES = st.sampled_from("abcdefgh")
EDGES = st.lists(st.tuples(NAMES, NAMES), max_size=20)


def depths(found: list[list[str]]) -> dict[str, int]:
    return {name: depth for depth, layer in enumerate(found) for name in layer}


@settings(max_examples=60)
@given(EDGES)
def test_each_service_stands_once_and_the_order_of_edges_does_not_matter(edges: list[tuple[str, str]]) -> None:
    found = layers(edges)
    named = sorted({name for pair in edges for name in pair if pair[0] != pair[1]})
    assert sorted(name for layer in found for name in layer) == named
    assert all(found)
    assert layers(reversed(edges)) == found


@settings(max_examples=60)
@given(EDGES)
def test_without_circles_a_caller_stands_left_of_what_it_calls(edges: list[tuple[str, str]]) -> None:
    forward = [(min(pair), max(pair)) for pair in edges if pair[0] != pair[1]]
    depth = depths(layers(forward))
    assert all(depth[caller] < depth[callee] for caller, callee in forward)


def test_a_circle_and_a_long_chain() -> None:
    assert layers([("a", "b"), ("b", "c"), ("c", "a")]) == [["a"], ["b"], ["c"]]
    chain = [(f"{number:05}", f"{number + 1:05}") for number in range(5000)]
    assert len(layers(chain)) == 5001


def test_where_all_call_all_the_layers_are_few() -> None:
    """Else each service would have a layer of its own, and the map twenty."""
    names = [f"{number:02}" for number in range(20)]
    every = [(caller, callee) for caller in names for callee in names]
    assert len(layers(every)) == 2
    few = [(names[number], names[(number * 7 + step) % 20]) for number in range(20) for step in (1, 3, 8)]
    assert len(layers(few)) <= 6
    chain = [*pairwise(names), (names[19], names[18])]
    assert len(layers(chain)) == 20
