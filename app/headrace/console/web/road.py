"""The road of a span in numbers: the receiver's `/metrics` and `/readyz` → what the status page shows. Pure; no I/O."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_KEPT = (
    *("headrace_spans_received", "headrace_spans_accepted", "headrace_spans_written", "headrace_spans_dead_lettered"),
    *("headrace_spans_rejected", "headrace_spans_repaired", "headrace_requests_refused", "headrace_records_refused"),
    "headrace_records_rejected",
    *("headrace_queue_bytes", "headrace_queue_max_bytes", "headrace_queue_items", "headrace_queue_oldest_age_seconds"),
    *("headrace_ready", "headrace_database_up", "headrace_tables_fit", "headrace_export_retrying"),
)
_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the metrics said at one moment."""

    time: float
    """Unix seconds."""
    received: int = 0
    """Spans, since the receiver's start, as the next three."""
    written: int = 0
    dead: int = 0
    repaired: int = 0
    queued: int = 0
    """Requests that wait."""
    queue_bytes: int = 0
    queue_max_bytes: int = 0
    lag: float = 0.0
    """Seconds that the oldest request has waited."""
    ready: bool = True
    reason: str = ""
    """Why it takes no requests; or what writing waits for."""
    database: bool = True
    tables_fit: bool = True
    """Whether MLflow's tables can be written as they are."""
    known: bool = True
    """Whether these were Headrace's metrics at all."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Spans, log records and data points by reason."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Requests by reason."""

    @property
    def fill(self) -> float:
        """How full the queue is, in per cent."""
        return min(100.0, 100 * self.queue_bytes / self.queue_max_bytes) if self.queue_max_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Road:
    """What the page shows: the last numbers, spans a second now, and the chart of the last hour."""

    numbers: Numbers | None
    """None: the receiver does not answer."""
    error: str = ""
    """Why not."""
    receiving: float = 0.0
    """Spans a second, over the last ten seconds or so."""
    writing: float = 0.0
    chart: "Chart | None" = None


@dataclass(frozen=True, slots=True)
class Chart:
    """Spans a second over the last hour, as SVG paths in a box of 720 × 120."""

    line: str
    area: str
    written: str
    most: float
    """Spans a second at the top."""
    minutes: int
    """How far back it goes."""


def numbers_of(metrics: str, ready: Mapping[str, Any], time: float) -> Numbers:
    """The texts of `/metrics` and `/readyz`, read at this time → numbers.

    Raises:
        ValueError: it is no Prometheus text.
    """
    found = _by_label(metrics)

    def total(name: str) -> float:
        return sum(found.get(f"headrace_{name}", {}).values())

    def by_reason(name: str) -> dict[str, int]:
        counted = found.get(f"headrace_{name}", {})
        return {reason: int(value) for reason, value in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])) if value}

    database = ready.get("database")
    return Numbers(
        time=time,
        received=int(total("spans_received")),
        written=int(total("spans_written")),
        dead=int(total("spans_dead_lettered")),
        repaired=int(total("spans_repaired")),
        queued=int(total("queue_items")),
        queue_bytes=int(total("queue_bytes")),
        queue_max_bytes=int(total("queue_max_bytes")),
        lag=total("queue_oldest_age_seconds"),
        ready=bool(total("ready")),
        reason=_reason(ready),
        database=bool(database.get("reachable")) if isinstance(database, Mapping) else bool(total("database_up")),
        tables_fit=bool(total("tables_fit")) if "headrace_tables_fit" in found else True,
        known="headrace_ready" in found,
        rejected=by_reason("spans_rejected") | {f"record: {name}": n for name, n in by_reason("records_rejected").items()},
        refused=by_reason("requests_refused") | {f"{name} records": n for name, n in by_reason("records_refused").items()},
    )


def _by_label(metrics: str) -> dict[str, dict[str, float]]:
    """The text of `/metrics` → name of a metric → reason or signal ("": neither) → the sum of its samples."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families("\n".join(_wanted(metrics))):
        sums = found.setdefault(family.name, {})
        for sample in family.samples:
            label = sample.labels.get("reason") or sample.labels.get("signal") or ""
            sums[label] = sums.get(label, 0.0) + sample.value
    return found


def _wanted(metrics: str) -> Iterable[str]:
    """The lines of the metrics that are read; the rest need not be parsed."""
    for line in metrics.splitlines():
        name = (
            line.split(" ", 3)[2] if line.startswith("#") and line.count(" ") > 2 else line.partition("{")[0].partition(" ")[0]
        )
        if name.removesuffix("_total") in _KEPT:
            yield line


def _reason(ready: Mapping[str, Any]) -> str:
    database = ready.get("database")
    said = (ready.get("reason"), ready.get("waits_for"), database.get("error") if isinstance(database, Mapping) else None)
    return next((str(each)[:_MAX_REASON] for each in said if each), "")


def road_of(samples: Sequence[Numbers], error: str, now: float) -> Road:
    """Samples, the oldest first, and why there is no newer one → the road."""
    if not samples or error:
        return Road(None, error or "It has not been asked yet.", chart=chart_of(samples, now))
    last = samples[-1]
    before = next((each for each in reversed(samples) if last.time - each.time >= 8), samples[0])
    return Road(last, "", _rate(before, last, "received"), _rate(before, last, "written"), chart_of(samples, now))


def rates(samples: Sequence[Numbers], name: str) -> list[tuple[float, float]]:
    """The time of each sample but the first, and spans a second since the one before it. `name`: `received` or `written`."""
    return [(after.time, _rate(before, after, name)) for before, after in pairwise(samples)]


def _rate(before: Numbers, after: Numbers, name: str) -> float:
    """Spans a second between two samples. 0 if the receiver was started again between them."""
    seconds = after.time - before.time
    more = getattr(after, name) - getattr(before, name)
    return more / seconds if seconds > 0 and more > 0 else 0.0


SECONDS, WIDTH, HEIGHT = 3600, 720, 120
_BUCKET = 15
"""Seconds that one point of the chart stands for: of the samples in them the last counts."""


def chart_of(samples: Sequence[Numbers], now: float) -> Chart | None:
    """The chart. None: there are fewer than three samples."""
    within = list({int(each.time // _BUCKET): each for each in samples if each.time >= now - SECONDS}.values())
    if len(within) < 3:
        return None
    received, written = rates(within, "received"), rates(within, "written")
    most = max(1.0, *(rate for _, rate in received + written))
    line = _path(received, most, now)
    first, last = (_x(received[place][0], now) for place in (0, -1))
    return Chart(
        line,
        f"{line}L{last} {HEIGHT}L{first} {HEIGHT}Z",
        _path(written, most, now),
        most,
        max(1, round((now - within[0].time) / 60)),
    )


def _path(points: Iterable[tuple[float, float]], most: float, now: float) -> str:
    return "M" + "L".join(f"{_x(time, now)} {round(HEIGHT - rate / most * (HEIGHT - 6), 1)}" for time, rate in points)


def _x(time: float, now: float) -> float:
    return round(WIDTH * (1 - (now - time) / SECONDS), 1)


def to_object(text: bytes) -> Mapping[str, Any]:
    """A JSON object; an empty one if it is none."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, Mapping) else {}
