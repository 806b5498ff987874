"""What the pages say: a question → a template and its values. They wait for Postgres: for threads only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.analysis.compare import Row, compare, compare_with_median, kind_of, regressions
from headrace.analysis.otlp import traces_of
from headrace.analysis.quality import TAKES, higher_is_better, metrics_of, points, regressed
from headrace.analysis.trace import Trace
from headrace.console.web import map as maps
from headrace.console.web.asked import Asked, to_attributes, to_nanoseconds, to_time, to_trace_id
from headrace.console.web.chart import scatter
from headrace.console.web.details import parts_of
from headrace.console.web.format import url
from headrace.console.web.snippets import snippets
from headrace.console.web.waterfall import PAGE, view
from headrace.errors import HeadraceError, NoSuchPath
from headrace.reader import Query, ReadTrace

TRACES_PAGE = 25
_MAX_PAGE = 39
"""The last page of a search: a search finds 1,000 traces at most."""
OTHERS = 15
"""Traces of a kind that a median is made of, at most."""
_MOST_SPANS = 50_000
"""Of all of them together."""
ROWS = 300
"""Rows of a comparison on one page."""
_SEC = 1_000_000_000
WINDOWS = {"hour": 3600, "day": 86_400, "week": 604_800}
SHOW = {"all": "All spans", "critical": "Critical path", "errors": "Errors"}
STATUS = {"": "Any", "error": "Failed", "ok": "Not failed"}
SINCE = {"": "Any time", "15m": "15 minutes", "1h": "1 hour", "24h": "24 hours", "7d": "7 days"}
TAKES_NAMES = {"duration": "Duration", "tokens": "Tokens", "cost": "Cost"}
BETTER = {"": "guess", "high": "higher", "low": "lower"}


@dataclass(frozen=True, slots=True)
class Page:
    """A template, and what it says."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page of the console."""

    to: str


def status(asked: Asked) -> Page:
    """`/`: the road, the experiments, and the lines to copy. The caller adds the road."""
    activity = asked.reader.activity(asked.experiments())
    chosen = asked.text("experiment") or (str(activity[0].experiment.id) if activity else "0")
    chosen = chosen if chosen.isascii() and chosen.isdigit() and len(chosen) < 12 else "0"
    begun = any(each.last for each in activity)
    lines = snippets(asked.config, chosen)
    values = {"activity": activity, "begun": begun, "chosen": chosen, "snippets": lines, "now": asked.now, "senders": []}
    return Page("status.html", values)


def traces(asked: Asked) -> "Page | Redirect":
    """`/traces`: the search."""
    if asked.text("id"):
        return Redirect(url(f"/traces/{to_trace_id(asked.text('id'))}"))
    experiments = asked.experiments(asked.text("experiment"))
    number = asked.number("page", 0, _MAX_PAGE)
    values = _choices(asked, experiments) | {"page": number, "number_of": TRACES_PAGE}
    try:
        query = _query(asked, experiments, number)
    except HeadraceError as error:
        return Page("traces.html", {**values, "wrong": str(error), "found": [], "complete": True}, error.http_status)
    result = asked.reader.search(query)
    begin = number * TRACES_PAGE
    found = result.found[begin : begin + TRACES_PAGE]
    more = len(result.found) > begin + TRACES_PAGE and number < _MAX_PAGE
    longest = max((each.duration for each in found), default=0)
    # The further pages end where the first did, so that traces which come meanwhile do not move them.
    until = asked.text("until") or f"{_iso(asked.now)}"
    values |= {"found": found, "more": more, "complete": result.complete, "longest": longest, "until": until, "now": asked.now}
    return Page("traces.html", values)


def _choices(asked: Asked, experiments: Any) -> dict[str, Any]:
    """What the form of the search offers, as far as this key may see it."""
    mine = asked.experiments()
    known = [each for each in asked.reader.experiments() if mine is None or each.id in mine]
    service = asked.text("service")
    return {
        "services": asked.reader.services(experiments)[:1000],
        "operations": asked.reader.operations(service, experiments)[:1000] if service else [],
        "experiments": known[:1000],
        "names": {each.id: each.name for each in known},
        "statuses": STATUS,
        "sinces": SINCE,
    }


def _iso(nanoseconds: int) -> str:
    from headrace.console.web.format import moment

    return moment(nanoseconds).replace(" ", "T")


def _query(asked: Asked, experiments: Any, page: int) -> Query:
    return Query(
        experiments=experiments,
        service=asked.text("service"),
        operation=asked.text("operation"),
        attributes=to_attributes(asked.text("attributes")),
        min_duration=to_nanoseconds(asked.text("min")),
        max_duration=to_nanoseconds(asked.text("max")),
        since=to_time(asked.text("since"), asked.now),
        until=to_time(asked.text("until"), asked.now),
        error={"error": True, "ok": False}.get(asked.text("status")),
        limit=(page + 1) * TRACES_PAGE + 1,
    )


def trace(asked: Asked) -> Page:
    """`/traces/<id>`: the waterfall."""
    read, found = _read(asked, asked.trace_id("trace_id"))
    show = asked.choice("show", SHOW)
    shown = view(found, parts_of(read.data), asked.number("from"), show, asked.text("span"))
    values = {
        "view": shown,
        "read": read,
        "shows": SHOW,
        "show": show,
        "page": PAGE,
        "chosen": asked.text("span"),
        "ui": ui_link(asked, read.experiment_id, found.trace_id),
    }
    return Page("trace.html", values)


def ui_link(asked: Asked, experiment_id: int, trace_id: str) -> str:
    """The trace in MLflow's UI."""
    return f"{asked.config.ui_link}/#/experiments/{experiment_id}/traces?selectedEvaluationId=tr-{trace_id}"


def _read(asked: Asked, trace_id: str) -> tuple[ReadTrace, Trace]:
    """A trace.

    Raises:
        NoSuchPath: there is none that may be read.
    """
    read = asked.reader.trace(trace_id, asked.experiments())
    found = traces_of(read.data) if read is not None else []
    if read is None or not found:
        raise NoSuchPath(
            f"There is no trace {trace_id} here. It may not be written yet, its spans may stand in MLflow's artifact store, "
            "or it belongs to an experiment that your key does not show."
        )
    return read, found[0]


def comparison(asked: Asked) -> Page:
    """`/compare`: two traces; or, with `b` alone, a trace beside the median of its kind."""
    values: dict[str, Any] = {"rows": [], "worse": [], "left": None, "right": None, "of_kind": 0, "shown": [], "first": 0}
    right_id = asked.text("b") or asked.text("a")
    if not right_id:
        return Page("compare.html", values)
    right_read, right = _read(asked, to_trace_id(right_id))
    if asked.text("a") and asked.text("b"):
        _, left = _read(asked, to_trace_id(asked.text("a")))
        rows = compare(left, right)
        values["left"] = left
    else:
        others = _of_the_same_kind(asked, right, right_read.experiment_id)
        rows = compare_with_median(right, others) if others else []
        values["of_kind"] = len(others)
    first = min(asked.number("from"), max(0, len(rows) - 1)) // ROWS * ROWS
    values |= {"rows": rows, "worse": regressions(rows, 5), "right": right, "first": first, "page": ROWS}
    values |= {"shown": rows[first : first + ROWS], "most": max((_change(row) for row in rows), default=0)}
    return Page("compare.html", values)


def _change(row: Row) -> int:
    return abs(row.slower)


def _of_the_same_kind(asked: Asked, trace: Trace, experiment_id: int) -> list[Trace]:
    """The newest other traces of the kind in the same experiment, up to a number of traces and of spans."""
    service, operation = kind_of(trace)
    query = Query(experiments=[experiment_id], service=service, operation=operation, limit=2 * OTHERS)
    found: list[Trace] = []
    spans = 0
    listed = asked.reader.search(query).found
    # Most are named after their root: of these alone each need not be read to learn its kind.
    named = [each for each in listed if each.name == operation]
    for each in named or listed:
        if len(found) == OTHERS or spans > _MOST_SPANS:
            break
        read = asked.reader.trace(each.trace_id, [experiment_id]) if each.trace_id != trace.trace_id else None
        others = traces_of(read.data) if read is not None else []
        if others and kind_of(others[0]) == (service, operation):
            found.append(others[0])
            spans += len(others[0].spans)
    return found


def service_map(asked: Asked) -> Page:
    """`/map`: who calls whom in the last hour, day or week."""
    window = asked.choice("window", WINDOWS)
    since = asked.now - WINDOWS[window] * _SEC
    edges = asked.reader.dependencies(since, asked.now, asked.experiments(asked.text("experiment")))
    mine = asked.experiments()
    values = {
        "window": window,
        "windows": WINDOWS,
        "edges": sorted(edges, key=lambda edge: (-edge.calls, edge))[: maps.IN_TABLE],
        "all": len(edges),
        "drawing": maps.drawing(edges) if edges else None,
        "drawn": maps.MOST,
        "trouble": maps.trouble,
        "experiments": [each for each in asked.reader.experiments() if mine is None or each.id in mine][:1000],
    }
    return Page("map.html", values)


def quality(asked: Asked) -> Page:
    """`/quality`: what the runs of an experiment take, beside a metric of theirs."""
    mine = asked.experiments()
    known = [each for each in asked.reader.experiments() if mine is None or each.id in mine][:1000]
    values: dict[str, Any] = {"experiments": known, "takes_names": TAKES_NAMES, "betters": BETTER, "metrics": [], "points": []}
    experiment = asked.number("experiment", -1, 2**31 - 1)
    if experiment < 0:
        busy = [each.experiment.id for each in asked.reader.activity(mine) if each.last]
        experiment = busy[0] if busy else -1
    if experiment not in {each.id for each in known}:
        return Page("quality.html", {**values, "chosen": "", "takes": TAKES[0], "metric": ""})
    read = asked.reader.runs(experiment)
    names = metrics_of(read.runs)
    metric = asked.text("metric") if asked.text("metric") in names else next(iter(names), "")
    higher = {"high": True, "low": False}.get(asked.text("better"), higher_is_better(metric))
    takes = asked.choice("takes", TAKES_NAMES)
    found = points(read, takes, metric, higher)
    values |= {"chosen": str(experiment), "metrics": names[:500], "metric": metric, "higher": higher, "takes": takes}
    values |= {"points": found, "worse": regressed(found), "scatter": scatter(found) if found else None, "read": read}
    values["ui"] = f"{asked.config.ui_link}/#/experiments/{experiment}/runs/"
    return Page("quality.html", values)
