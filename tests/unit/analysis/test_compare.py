"""Traces side by side."""

from hypothesis import strategies as st

from headrace.analysis.compare import Row, compare, compare_with_median, kind_of, regressions
from headrace.analysis.trace import Span, Trace
from unit.analysis.forests import given, span, spans, trace


def shop(*queries: int, name: str = "t", failed: bool = False) -> Trace:
    """A page that asks the database again and again; each query takes so long."""
    found, at = [], 10
    for number, length in enumerate(queries):
        found.append(span("db.query", at, at + length, "web.page", span_id=f"{number}", error=failed))
        at += length
    return trace(span("web.page", 0, at + 10), *found, trace_id=name)


def lines(rows: list[Row]) -> list[tuple[object, ...]]:
    return [
        (row.depth, row.operation, row.position, *(side and (side.duration, side.self_time) for side in (row.left, row.right)))
        for row in rows
    ]


def test_two_traces() -> None:
    assert lines(compare(shop(5, 7), shop(5, 30, 4))) == [
        (0, "page", 0, (32, 20), (59, 20)),
        (1, "query", 0, (5, 5), (5, 5)),
        (1, "query", 1, (7, 7), (30, 30)),
        (1, "query", 2, None, (4, 4)),
    ]


def test_a_regression_is_found_where_it_arises() -> None:
    worst = regressions(compare(shop(5, 7), shop(5, 30, 4)))
    assert [(row.operation, row.position, row.slower) for row in worst] == [("query", 1, 23), ("query", 2, 4)]
    assert regressions(compare(shop(5, 30, 4), shop(5, 7))) == []


def test_the_median_of_a_kind() -> None:
    others = [shop(5, 7, failed=True), shop(5, 9), shop(1, 8), shop(6, 8, 9)]
    rows = compare_with_median(shop(50), others)
    assert lines(rows) == [
        (0, "page", 0, (32, 20), (70, 20)),
        (1, "query", 0, (5, 5), (50, 50)),
        (1, "query", 1, (8, 8), None),  # most others have it
    ]
    assert [row.left.count for row in rows if row.left] == [4, 4, 4]
    assert [row.left.errors for row in rows if row.left] == [0, 1, 1]


def test_what_only_this_trace_has_is_shown() -> None:
    assert lines(compare_with_median(shop(5), [])) == [(0, "page", 0, None, (25, 20)), (1, "query", 0, None, (5, 5))]


def test_the_kind_of_a_trace_is_that_of_its_root() -> None:
    assert kind_of(shop(1)) == ("web", "page")
    assert kind_of(trace()) == ("", "")


@given(spans())
def test_a_trace_is_like_itself(found: list[Span]) -> None:
    made = Trace.of("t", found)
    rows = compare(made, made)
    assert len(rows) == len(found)
    assert all(row.left == row.right for row in rows)
    assert regressions(rows) == []


@given(spans(), spans())
def test_each_span_has_one_row(one: list[Span], other: list[Span]) -> None:
    rows = compare(Trace.of("t", one), Trace.of("u", other))
    assert sorted(row.left.span_id for row in rows if row.left) == sorted(each.span_id for each in one)
    assert sorted(row.right.span_id for row in rows if row.right) == sorted(each.span_id for each in other)
    assert all(row.left or row.right for row in rows)


@given(spans(), spans())
def test_a_comparison_can_be_turned_round(one: list[Span], other: list[Span]) -> None:
    left, right = Trace.of("t", one), Trace.of("u", other)
    there = sorted(row.slower for row in compare(left, right))
    assert there == sorted(-row.slower for row in compare(right, left))


@given(spans().flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), spans())
def test_the_order_of_spans_does_not_matter(both: tuple[list[Span], list[Span]], other: list[Span]) -> None:
    one, same = (compare(Trace.of("t", found), Trace.of("u", other)) for found in both)
    assert one == same


@given(spans(), st.lists(spans(), max_size=4))
def test_the_median_of_one_other_is_that_other(found: list[Span], others: list[list[Span]]) -> None:
    made = Trace.of("t", found)
    for other in others:
        assert compare_with_median(made, [Trace.of("u", other)]) == compare(Trace.of("u", other), made)
    rows = compare_with_median(made, [Trace.of(str(number), other) for number, other in enumerate(others)])
    assert sorted(row.right.span_id for row in rows if row.right) == sorted(each.span_id for each in found)
