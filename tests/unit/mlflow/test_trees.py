"""Totals that grow span by span are those that MLflow makes of the whole tree: in any order and batches, sent again. No I/O."""

import json
import math
import random
from typing import Any

import pytest

from headrace.mlflow.fold.totals import columns_of, cost_columns, token_columns
from headrace.mlflow.fold.trees import added, starts, totals_of
from headrace.mlflow.model import Node, Totals
from headrace.mlflow.model.totals import Sum, exact


def tree(chance: random.Random) -> list[Node]:
    """Spans in a tree, some without a parent that is there, some in a circle, some with figures; halves add up without loss."""
    size = chance.randint(1, 14)
    nodes = []
    for number in range(size):
        parent = chance.choice([None, "missing", *map(str, range(size))]) if chance.random() < 0.3 else str(number // 2)
        usage = (
            {key: chance.randint(0, 9) for key in chance.sample(KEYS, chance.randint(0, 3))} if chance.random() < 0.4 else None
        )
        cost = {"total_cost": chance.randint(0, 9) / 2} if chance.random() < 0.4 else None
        nodes.append(Node(str(number), parent if parent != str(number) or chance.random() < 0.1 else None, usage, cost))
    return nodes


KEYS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "odd")


class Stored:
    """Keeps spans and totals between batches, as Postgres does."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.totals: str | None = None
        self.read = 0
        """How often all spans were read."""

    def write(self, batch: list[Node]) -> None:
        nodes = {node.span_id: node for node in batch}
        totals = Totals.loaded(json.loads(self.totals)) if self.totals else None
        if totals is None or not added(totals, nodes, self.chains(starts(totals, nodes))):
            self.read += 1
            totals = totals_of((self.nodes | nodes).values())
        self.nodes |= nodes
        self.totals = json.dumps(totals.dumped())

    def chains(self, ids: set[str]) -> dict[str, Node]:
        """These spans with all their ancestors, and no other."""
        found: dict[str, Node] = {}
        while ids:
            found |= {id_: self.nodes[id_] for id_ in ids if id_ in self.nodes}
            ids = {node.parent_id for node in found.values() if node.parent_id in self.nodes} - found.keys()
        return found

    @property
    def columns(self) -> tuple[list[Any], list[Any]]:
        assert self.totals is not None
        return columns_of(Totals.loaded(json.loads(self.totals)))


def batches(nodes: list[Node], chance: random.Random) -> list[list[Node]]:
    """All of them, in batches of any size."""
    left, found = nodes[:], []
    while left:
        size = chance.randint(1, len(left))
        found.append(left[:size])
        left = left[size:]
    return found


@pytest.mark.parametrize("seed", range(10))
def test_in_any_order_and_any_batches_as_mlflow_makes_them(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        nodes, stored = tree(chance), Stored()
        order = chance.sample(nodes, len(nodes))
        for batch in batches([*order, *chance.sample(order, len(order) // 2)], chance):
            stored.write(batch)
        assert stored.columns == (token_columns(nodes), cost_columns(nodes))
        assert stored.read == 1


@pytest.mark.parametrize("seed", range(10))
def test_a_span_that_comes_again_with_other_values_does_not_count_twice(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        nodes, stored = tree(chance), Stored()
        for batch in batches(chance.sample(nodes, len(nodes)), chance):
            stored.write(batch)
        number, other = chance.randrange(len(nodes)), chance.choice(tree(chance))
        before, read = nodes[number], stored.read
        if alike := before.usage is not None and chance.random() < 0.5:
            nodes[number] = before._replace(usage=dict.fromkeys(before.usage or {}, 7))
        else:
            nodes[number] = other._replace(span_id=before.span_id)
        stored.write([nodes[number]])
        assert stored.columns == (token_columns(nodes), cost_columns(nodes))
        assert not alike or stored.read == read


def test_sums_of_floats_do_not_depend_on_their_order() -> None:
    figures = [0.1, 0.2, 0.3, 1e-9, 1e16, 5e-324, -1e16]
    found = set()
    for seed in range(20):
        stored = Stored()
        for number in random.Random(seed).sample(range(len(figures)), len(figures)):
            stored.write([Node(str(number), "root", None, {"total_cost": figures[number]})])
        found.add(stored.columns[1][2])
    assert found == {math.fsum(figures)}


def test_integers_stay_integers() -> None:
    large = 2**62 + 1
    totals = totals_of(
        [Node("a", None, {"input_tokens": large}, None), Node("b", None, {"input_tokens": 1, "output_tokens": 0.5}, None)]
    )
    assert Totals.loaded(json.loads(json.dumps(totals.dumped()))) == totals
    assert columns_of(totals)[0][:3] == [large + 1, None, 0]


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_added(figure: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        exact(figure)


def test_a_sum_that_no_float_can_hold_is_infinite() -> None:
    assert exact(1.7e308).plus(exact(1.7e308)).figure == float("inf")
    assert Sum(3).plus(Sum(1), -1).figure == 2
