"""To which experiments a key is limited, and that the limit travels with what was sent."""

import pytest

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.envelope.split import halves


def test_digits_are_an_id_and_all_else_is_a_name() -> None:
    assert Limit.of(["2", "shop", "007", "2a", "²"]) == Limit(frozenset({2, 7}), frozenset({"shop", "2a", "²"}))


def test_without_experiments_there_is_no_limit_and_with_impossible_ones_there_is() -> None:
    assert Limit.of([]) is None
    assert Limit.of(["9" * 50, "9" * 5000]) == Limit(frozenset(), frozenset())


@pytest.mark.parametrize(
    ("experiment", "name", "covered"),
    [(7, None, True), (2, None, True), (3, "shop", True), (3, "2", False), (3, None, False), (4, "stock", False)],
)
def test_what_it_covers(experiment: int, name: str | None, covered: bool) -> None:
    """Of a request for experiment 7."""
    limit = Limit.of(["2", "shop"])
    assert limit is not None
    assert limit.covers(7, experiment, name) is covered


@pytest.mark.parametrize("limit", [None, Limit.of(["2", "shop"]), Limit(frozenset(), frozenset())], ids=str)
def test_it_travels_in_the_envelope_and_in_each_part(limit: Limit | None) -> None:
    sent = otlp.sent(otlp.request(otlp.span(), otlp.span()), limit=limit)
    sent.destinations = [pb.Destination(experiment_id="2")]
    delivery = Delivery.from_envelope(sent.to_envelope())
    assert delivery.limit == limit
    assert Delivery.from_envelope(delivery.to_envelope()) == delivery
    assert [half.limit for half in halves(delivery) or ()] == [limit, limit]


def test_the_same_limit_has_the_same_bytes() -> None:
    one, other = Limit.of(["b", "a", "3", "1"]), Limit.of(["1", "3", "a", "b"])
    assert one is not None
    assert other is not None
    assert one.to_message().SerializeToString() == other.to_message().SerializeToString()


def test_it_is_told_in_few_words() -> None:
    assert str(Limit.of(["shop", "3"])) == "3, shop"
    assert str(Limit.of([f"team {number:02}" for number in range(20)])).endswith("team 09, …")
