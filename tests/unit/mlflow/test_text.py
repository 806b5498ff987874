"""Texts as Postgres can hold them and as MLflow reads them."""

from collections import Counter

import pytest

from headrace.mlflow.text import Repairs, cut, smaller, storable, to_object, unquoted


@pytest.mark.parametrize(
    ("text", "stored", "rules"),
    [
        ("plain", "plain", {}),
        ("grün \U0001f600", "grün \U0001f600", {}),
        ("a\0b\0", "a\ufffdb\ufffd", {"nul_replaced": 1}),
        ("half \ud83d", "half \ufffd", {"surrogate_replaced": 1}),
        ("\ud83d\ude00", "\U0001f600", {"surrogate_replaced": 1}),
        ("\0\udc00", "\ufffd\ufffd", {"nul_replaced": 1, "surrogate_replaced": 1}),
    ],
)
def test_what_postgres_cannot_hold_is_replaced_and_counted_once_a_text(text: str, stored: str, rules: dict[str, int]) -> None:
    repaired: Repairs = Counter()
    assert storable(text, repaired) == stored
    assert repaired == rules
    stored.encode()


def test_a_text_is_cut_at_its_column_s_length_before_it_is_repaired() -> None:
    repaired: Repairs = Counter()
    assert cut("x" * 5 + "\0", 5, "name_cut", repaired) == "xxxxx"
    assert cut("xxxxx", 5, "name_cut", repaired) == "xxxxx"
    assert repaired == {"name_cut": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [('"a b"', "a b"), ("a b", "a b"), ("12", "12"), ('{"a": 1}', '{"a": 1}'), (7, "7"), ('""', ""), ("", "")],
)
def test_unquoted_is_the_text_within_the_json(value: object, text: str) -> None:
    assert unquoted(value) == text


@pytest.mark.parametrize(
    ("value", "found"), [({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), ("[1]", None), ("{", None), (1, None)]
)
def test_an_object_is_a_dict_or_the_json_of_one(value: object, found: object) -> None:
    assert to_object(value) == found


def test_the_smaller_of_two_does_not_depend_on_their_order() -> None:
    assert smaller("b", "a") == smaller("a", "b") == "a"
    assert smaller(None, "a") == smaller("a", None) == smaller("a", "") == "a"
    assert smaller(None, None) is None
