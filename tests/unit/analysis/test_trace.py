"""Spans → a forest."""

from hypothesis import strategies as st

from headrace.analysis.trace import Span, Trace
from unit.analysis.forests import given, span, spans, trace


@given(spans())
def test_each_span_stands_in_the_forest_once(found: list[Span]) -> None:
    walked = [each.span_id for _, each in Trace.of("t", found).walk()]
    assert sorted(walked) == sorted(each.span_id for each in found)


@given(spans().flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_spans_does_not_matter(both: tuple[list[Span], list[Span]]) -> None:
    one, other = (Trace.of("t", found) for found in both)
    assert list(one.walk()) == list(other.walk())


@given(spans())
def test_a_parent_comes_before_its_children(found: list[Span]) -> None:
    for depth, each in (made := Trace.of("t", found)).walk():
        assert (depth == 0) == (each in made.roots)
        assert each.end >= each.start


def test_a_root_that_was_sent_stands_for_the_trace_before_an_earlier_span_whose_parent_is_missing() -> None:
    made = trace(span("a.late", 5, 6), span("a.orphan", 1, 9, "gone"), span("a.root", 3, 8))
    assert [each.span_id for each in made.roots] == ["a.root", "a.late", "a.orphan"]
    assert made.root == span("a.root", 3, 8)


def test_the_oldest_of_a_circle_is_a_root() -> None:
    made = trace(span("a.x", 4, 5, "a.y"), span("a.y", 2, 9, "a.z"), span("a.z", 3, 9, "a.x"), span("a.leaf", 4, 5, "a.x"))
    assert [(depth, each.operation) for depth, each in made.walk()] == [(0, "y"), (1, "x"), (2, "z"), (2, "leaf")]


def test_a_span_that_names_itself_is_a_root() -> None:
    assert [each.operation for each in trace(span("a.x", 1, 2, "a.x")).roots] == ["x"]


def test_an_end_before_the_start_is_no_length() -> None:
    assert trace(span("a.x", 5, 3)).spans["a.x"].duration == 0


def test_of_two_spans_with_one_id_one_counts_in_either_order() -> None:
    one, other = span("a.x", 1, 2), span("a.x", 1, 3)
    assert list(trace(one, other).spans.values()) == list(trace(other, one).spans.values()) == [other]


def test_a_trace_may_be_empty() -> None:
    assert trace().root is None
    assert list(trace().walk()) == []
