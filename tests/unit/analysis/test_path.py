"""The critical path and self times: three traces computed by hand, and what holds for all."""

from hypothesis import strategies as st

from headrace.analysis.path import critical_path, path_times, self_times
from headrace.analysis.trace import CONSUMER, PRODUCER, Span, Trace
from unit.analysis.forests import given, span, spans, trace


def path(made: Trace) -> list[tuple[str, int, int]]:
    return [(part.span.span_id, part.start, part.end) for part in critical_path(made)]


SHOP = trace(
    span("web.buy", 0, 100),
    span("cart.read", 10, 40, "web.buy"),
    span("db.select", 15, 35, "cart.read"),
    span("pay.charge", 40, 80, "web.buy"),
    span("bank.book", 50, 90, "pay.charge"),
    span("web.log", 45, 60, "web.buy"),
)
"""A purchase: two steps that follow each other without a gap; a bank that goes on after its caller has gone; a log line beside
the payment."""
FAN_OUT = trace(
    span("api.list", 0, 60),
    span("a.one", 5, 20, "api.list"),
    span("a.two", 5, 50, "api.list"),
    span("a.three", 30, 45, "api.list"),
    span("a.early", 0, 5, "api.list"),
)
"""Three calls at once: the slowest counts, and what ended before it began."""
QUEUED = trace(
    span("shop.order", 100, 200),
    span("shop.publish", 120, 140, "shop.order", kind=PRODUCER),
    span("mail.send", 130, 500, "shop.publish", kind=CONSUMER),
    span("mail.render", 131, 135, "shop.publish"),
    span("shop.note", 150, 150, "shop.order"),
    span("clock.wrong", 10, 90, "shop.order"),
)
"""A message whose consumer nobody waits for, a span of no length, and a clock that goes wrong."""


def test_steps_that_follow_each_other() -> None:
    assert path(SHOP) == [
        ("web.buy", 0, 10),
        ("cart.read", 10, 15),
        ("db.select", 15, 35),
        ("cart.read", 35, 40),
        ("pay.charge", 40, 50),
        ("bank.book", 50, 80),
        ("web.buy", 80, 100),
    ]
    assert path_times(critical_path(SHOP)) == {
        "web.buy": 30,
        "cart.read": 10,
        "db.select": 20,
        "pay.charge": 10,
        "bank.book": 30,
    }
    assert self_times(SHOP) == {
        "web.buy": 30,
        "cart.read": 10,
        "db.select": 20,
        "pay.charge": 10,
        "bank.book": 40,
        "web.log": 15,
    }


def test_calls_at_the_same_time() -> None:
    assert path(FAN_OUT) == [("a.early", 0, 5), ("a.two", 5, 50), ("api.list", 50, 60)]
    assert self_times(FAN_OUT) == {"api.list": 10, "a.one": 15, "a.two": 45, "a.three": 15, "a.early": 5}


def test_what_nobody_waits_for() -> None:
    assert path(QUEUED) == [
        ("shop.order", 100, 120),
        ("shop.publish", 120, 131),
        ("mail.render", 131, 135),
        ("shop.publish", 135, 140),
        ("shop.order", 140, 200),
    ]
    assert self_times(QUEUED)["shop.publish"] == 16
    assert self_times(QUEUED)["shop.order"] == 80


def test_of_children_that_are_cut_at_the_same_place_the_one_that_really_ended_last_counts() -> None:
    made = trace(span("a.root", 0, 10), span("a.x", 2, 30, "a.root"), span("a.y", 4, 20, "a.root"))
    assert path(made) == [("a.root", 0, 2), ("a.x", 2, 10)]


def test_the_path_of_any_span() -> None:
    assert [part.span.span_id for part in critical_path(SHOP, SHOP.spans["pay.charge"])] == ["pay.charge", "bank.book"]


def test_integers_stay_integers() -> None:
    begin = 1_790_000_000_000_000_001
    made = trace(span("a.root", begin, begin + 3), span("a.x", begin + 1, begin + 2, "a.root"))
    assert path(made) == [("a.root", begin, begin + 1), ("a.x", begin + 1, begin + 2), ("a.root", begin + 2, begin + 3)]


@given(spans())
def test_the_parts_cover_each_root_exactly(found: list[Span]) -> None:
    made = Trace.of("t", found)
    for root in made.spans.values():
        at = root.start
        for part in critical_path(made, root):
            assert part.start == at < part.end
            assert part.span.start <= part.start
            assert part.end <= part.span.end
            at = part.end
        assert at == root.end


@given(spans())
def test_the_times_on_the_path_are_the_root_s(found: list[Span]) -> None:
    made = Trace.of("t", found)
    if (root := made.root) is not None:
        assert sum(path_times(critical_path(made)).values()) == root.duration


@given(spans().flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_spans_does_not_matter(both: tuple[list[Span], list[Span]]) -> None:
    one, other = (Trace.of("t", found) for found in both)
    assert critical_path(one) == critical_path(other)
    assert self_times(one) == self_times(other)


@given(spans())
def test_self_times_are_within_the_span(found: list[Span]) -> None:
    made = Trace.of("t", found)
    times = self_times(made)
    for each in made.spans.values():
        covered = {
            moment for child in made.awaited(each) for moment in range(max(child.start, each.start), min(child.end, each.end))
        }
        assert times[each.span_id] == each.duration - len(covered)
