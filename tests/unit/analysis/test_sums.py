"""The dependency map, and the slowest operations."""

from hypothesis import strategies as st

from headrace.analysis.operations import Operation, slowest_operations
from headrace.analysis.services import dependencies
from headrace.analysis.trace import CLIENT, CONSUMER, PRODUCER, Span, Trace
from headrace.reader import Edge
from unit.analysis.forests import given, span, spans, trace


def test_a_call_is_a_span_whose_parent_belongs_to_another_service() -> None:
    made = trace(
        span("web.buy", 0, 100),
        span("web.helper", 1, 90, "web.buy"),
        span("pay.charge", 2, 40, "web.helper", error=True),
        span("pay.again", 50, 60, "web.helper"),
        span("db.insert", 51, 59, "pay.again"),
    )
    assert dependencies([made]) == [Edge("pay", "db", 1, 0, 8), Edge("web", "pay", 2, 1, 48)]


def test_what_is_not_instrumented_is_named_by_its_caller() -> None:
    made = trace(
        span("web.buy", 0, 100, kind=CLIENT, peer="ignored"),  # something below it was recorded
        span("web.call", 1, 9, "web.buy", kind=CLIENT, peer="bank"),
        span("web.plain", 1, 9, "web.buy", peer="bank"),  # no kind that calls
        span("web.own", 1, 9, "web.buy", kind=PRODUCER, peer="web"),
    )
    assert dependencies([made]) == [Edge("web", "bank", 1, 0, 8)]


def test_links_are_calls_too() -> None:
    sent = trace(span("shop.publish", 0, 5, kind=PRODUCER), trace_id="one")
    links = (("one", "shop.publish"), ("one", "shop.publish"), ("gone", "x"))
    taken = trace(span("mail.send", 9, 12, kind=CONSUMER, links=links), trace_id="two")
    assert dependencies([taken, sent]) == [Edge("shop", "mail", 1, 0, 3)]


def test_a_consumer_that_is_a_child_and_links_to_its_parent_counts_once() -> None:
    made = trace(
        span("shop.publish", 0, 5, kind=PRODUCER),
        span("mail.send", 9, 12, "shop.publish", kind=CONSUMER, links=(("t", "shop.publish"),)),
    )
    assert dependencies([made]) == [Edge("shop", "mail", 1, 0, 3)]


def test_the_operations_with_the_most_self_time() -> None:
    made = trace(
        span("web.page", 0, 100),
        *(span("db.query", 4 * each, 4 * each + 3, "web.page", span_id=str(each), error=each == 3) for each in range(20)),
        span("web.tail", 90, 200, "web.page"),
    )
    assert slowest_operations([made], 2) == [
        Operation("web", "tail", 1, 0, 110, 110, 110, 110, 110),
        Operation("db", "query", 20, 1, 60, 60, 3, 3, 3),
    ]


@given(st.lists(spans(), max_size=4).flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_does_not_matter(both: tuple[list[list[Span]], list[list[Span]]]) -> None:
    found, shuffled = both
    one = [Trace.of(str(each), found[each]) for each in range(len(found))]
    other = [Trace.of(str(found.index(each)), reversed(each)) for each in shuffled]
    assert slowest_operations(one) == slowest_operations(other)
    assert [edge.caller == edge.callee for edge in dependencies(one)].count(True) == 0


@given(spans())
def test_each_span_is_counted_once(found: list[Span]) -> None:
    made = Trace.of("t", found)
    operations = slowest_operations([made], 100)
    assert sum(each.calls for each in operations) == len(found)
    assert sum(each.duration for each in operations) == sum(each.duration for each in made.spans.values())
    assert all(each.median <= each.p95 <= each.longest for each in operations)
