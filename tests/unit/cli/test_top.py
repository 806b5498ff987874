"""What `headrace top` draws of numbers that are given."""

from dataclasses import replace

from rich.console import Console

from headrace.cli.top_view import Seen, draw, sparkline
from headrace.console.web.road import Numbers, numbers_of, rates
from headrace.console.web.senders import Sender

NOW = 1_800_000_000.0
WELL = Numbers(NOW, received=48_210, written=48_121, queued=7, queue_bytes=1_500_000, queue_max_bytes=4 * 2**30, lag=0.4)


def samples(*received: int) -> list[Numbers]:
    """One each two seconds, the last now."""
    return [
        replace(WELL, time=NOW - 2 * (len(received) - 1 - place), received=count, written=count)
        for place, count in enumerate(received)
    ]


def drawn(*seen: Numbers, error: str = "", refused: tuple[Sender, ...] = (), now: float = NOW) -> str:
    console = Console(width=120, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(draw(Seen("http://127.0.0.1:4318", seen, error, "3.17.2 at http://localhost:5000", refused, now)))
    return captured.get()


def test_the_whole_road_is_drawn() -> None:
    said = drawn(*samples(1_000, 1_100, 1_300, 1_500, 1_900, 2_100))
    for text in ("Headrace at http://127.0.0.1:4318", "7 requests", "1.43 MiB", "400 ms", "0 spans", "answers", "3.17.2 at"):
        assert text in said
    assert "2\u202f100 spans   125/s" in said  # of the last eight seconds
    assert "no requests" in said
    assert "no spans and records" in said


def test_what_is_refused_is_said_by_reason() -> None:
    refused = Sender("unauthenticated", "service cart · 10.0.0.9", 3, 75, "no key")
    numbers = replace(WELL, refused={"malformed_body": 12, "unauthenticated": 3}, rejected={"invalid_trace_id": 2}, dead=4)
    said = drawn(numbers, refused=(refused,))
    for text in ("15 requests: 12 malformed body, 3 unauthenticated", "2 spans and records: 2 invalid trace id", "4 spans"):
        assert text in said
    assert "1 min ago, 3×: unauthenticated · service cart · 10.0.0.9" in said


def test_what_is_not_well_is_said() -> None:
    numbers = replace(WELL, ready=False, reason="the queue is full", database=False, tables_fit=False)
    said = drawn(numbers)
    for text in ("the queue is full", "does not answer; what is taken waits", "its tables"):
        assert text in said


def test_a_receiver_that_answers_no_more_is_said_above_its_last_numbers() -> None:
    said = drawn(WELL, error="Connection refused", now=NOW + 90)
    assert "No answer for 1 min: Connection refused" in said
    assert "48\u202f210 spans" in said


def test_texts_with_brackets_stay_as_they_are() -> None:
    assert "[bold]x[/bold]" in drawn(WELL, refused=(Sender("x", "[bold]x[/bold]", 1, 1, ""),))


def test_the_line_of_rates_has_the_newest_on_the_right_and_is_bounded() -> None:
    assert sparkline(samples(0)) == ""
    assert sparkline(samples(0, 0, 0)) == "▁▁"
    assert sparkline(samples(0, 0, 70, 80)) == "▁█▂"
    assert len(sparkline(samples(*range(200)), 60)) == 60


def test_a_receiver_that_was_started_again_has_no_rate() -> None:
    assert [rate for _, rate in rates(samples(1_000, 10, 30), "received")] == [0.0, 10.0]


def test_metrics_of_another_program_are_not_taken_for_ours() -> None:
    assert not numbers_of("# TYPE other gauge\nother 1\n", {}, NOW).known
    ours = numbers_of(
        "# TYPE headrace_ready gauge\nheadrace_ready 1\n# TYPE headrace_tables_fit gauge\nheadrace_tables_fit 0\n", {}, NOW
    )
    assert ours.known
    assert not ours.tables_fit
