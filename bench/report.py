"""Measurements → medians over the rounds → Markdown tables, for the terminal and for bench/results; and JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil
from bench.lab import Lab
from bench.load import ROOT
from bench.roads import Measurement

_RESULTS = Path(__file__).parent / "results"
_HEAD = ["requests", "road", "spans/s", "min–max", "× MLflow", "× COPY", "× whole", "ack p50 / p99", "visible p50 / p99"]
_HEAD += ["CPU server / Postgres / load", "peak RSS"]
_CAPTION = "Medians of the rounds. Ack and visible in ms, CPU in seconds for a million spans, RSS in MiB."
_COSTS = ["requests", "road", "spans/s", "× one", "CPU server / Postgres", "WAL bytes a span", "connections that work or wait"]
_COSTS_CAPTION = (
    "Medians of the rounds. CPU in seconds for a million spans. The last column: how many of Postgres' connections worked "
    "(CPU) or waited, and for what, in the mean; the rest were idle."
)
_WITNESSED = ["road", "spans/s", "× MLflow", "acknowledged", "stored", "failed", "CPU server / Postgres / load", "peak RSS"]
_WITNESSED_CAPTION = (
    "Medians of the rounds; of acknowledged (with those of the warm-up), stored and failed spans the sums. CPU in seconds for "
    "a million spans, RSS in MiB."
)
Groups = dict[tuple[str, str], list[Measurement]]


def facts(lab: Lab, options: dict[str, object]) -> dict[str, object]:
    """What the figures depend on."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    changed = "-dirty" if _git("status", "--porcelain", "--", "app", "bench/*.py") else ""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "commit": _git("rev-parse", "--short", "HEAD") + changed,
        "cpu": cpu.partition(": ")[2] or platform.processor(),
        "cores": os.cpu_count(),
        "memory in GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "load average before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "mlflow": version("mlflow"),
        "headrace": version("headrace"),
        "postgres": lab.postgres(),
        "options": options,
    }


def table(measurements: Sequence[Measurement]) -> str:
    """Markdown; a line for each shape and road, in the order in which they were measured first."""
    groups, rates = _grouped(measurements)
    return _markdown(_HEAD, 2, groups, rates, _line) + f"\n\n{_CAPTION}\n"


def costs(measurements: Sequence[Measurement]) -> str:
    """Markdown: what several processes cost on one Postgres."""
    groups, rates = _grouped(measurements)
    return _markdown(_COSTS, 2, groups, rates, _costs) + f"\n\n{_COSTS_CAPTION}\n"


def witnessed(measurements: Sequence[Measurement]) -> str:
    """Markdown: what became of telemetrygen's spans."""
    groups, rates = _grouped(measurements)
    lines = [_WITNESSED, ["---", *["--:"] * (len(_WITNESSED) - 1)]]
    for key, group in groups.items():
        lines.append([key[1], *(_witnessed(group, rates) if key in rates else ["**FAILED**"])])
    return _rows(lines) + f"\n\n{_WITNESSED_CAPTION}\n"


def save(name: str, sections: dict[str, str], about: dict[str, object], measurements: Sequence[Measurement]) -> Path:
    """Writes bench/results/<name>.md, with a table for each title, and .json; returns the first."""
    _RESULTS.mkdir(exist_ok=True)
    known = "\n".join(f"- {key}: {json.dumps(value) if isinstance(value, dict) else value}" for key, value in about.items())
    tables = "\n".join(f"# {title}\n\n{text}" for title, text in sections.items())
    (_RESULTS / f"{name}.md").write_text(f"{tables}\nThe method: [docs/benchmark.md](../../docs/benchmark.md).\n\n{known}\n")
    document = {"facts": about, "measurements": [asdict(measurement) for measurement in measurements]}
    (_RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    return _RESULTS / f"{name}.md"


def _grouped(measurements: Sequence[Measurement]) -> tuple[Groups, dict[tuple[str, str], float]]:
    """The rounds of each shape and road; and the median rate of those in which nothing failed."""
    groups: Groups = {}
    for measurement in measurements:
        groups.setdefault((measurement.shape, measurement.road), []).append(measurement)
    sound = {key: group for key, group in groups.items() if not any(m.failure for m in group)}
    return groups, {key: median(m.spans_per_second for m in group) for key, group in sound.items()}


def _markdown(
    head: list[str],
    texts: int,
    groups: Groups,
    rates: dict[tuple[str, str], float],
    line: Callable[[list[Measurement], dict[tuple[str, str], float]], list[str]],
) -> str:
    lines = [head, ["---"] * texts + ["--:"] * (len(head) - texts)]
    lines += [[*key, *(line(group, rates) if key in rates else ["**FAILED**"])] for key, group in groups.items()]
    return _rows(lines)


def _rows(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(each) + " |" for each in lines)


def _line(group: list[Measurement], rates: dict[tuple[str, str], float]) -> list[str]:
    shape, road, whole = group[0].shape, group[0].road, group[0].whole
    own, spread = rates[shape, road], sorted(m.spans_per_second for m in group)
    beside = [(shape, "mlflow"), (shape, "copy"), (whole, road)]
    ratios = [f"{own / rates[other]:.2f}" if other in rates else "–" for other in beside]
    waits = [_medians([m.ack for m in group], 1e3, 1), _medians([m.visible for m in group], 1e3, 1)]
    spent = [_medians([m.cpu for m in group], 1, 0), _medians([m.peak_rss for m in group], 2**-20, 0)]
    return [f"{own:,.0f}", f"{spread[0]:,.0f}–{spread[-1]:,.0f}", *ratios, *waits, *spent]


def _costs(group: list[Measurement], rates: dict[tuple[str, str], float]) -> list[str]:
    shape, road = group[0].shape, group[0].road
    own, one = rates[shape, road], next(rate for (name, _), rate in rates.items() if name == shape)
    kinds = {kind: median(m.waits.get(kind, 0.0) for m in group) for m in group for kind in m.waits if kind != "idle"}
    waits = ", ".join(f"{kind} {mean:.2f}" for kind, mean in sorted(kinds.items(), key=lambda each: -each[1]) if mean >= 0.01)
    spent = [_medians([m.cpu[:2] for m in group], 1, 0), f"{median(m.wal for m in group):,.0f}"]
    return [f"{own:,.0f}", f"{own / one:.2f}", *spent, waits or "–"]


def _witnessed(group: list[Measurement], rates: dict[tuple[str, str], float]) -> list[str]:
    shape, own = group[0].shape, rates[group[0].shape, group[0].road]
    beside = f"{own / rates[shape, 'mlflow']:.2f}" if (shape, "mlflow") in rates else "–"
    sums = [sum(m.spans + m.warm for m in group), sum(m.stored for m in group), sum(m.refused_requests for m in group)]
    spent = [_medians([m.cpu for m in group], 1, 0), _medians([m.peak_rss for m in group], 2**-20, 0)]
    return [f"{own:,.0f}", beside, *(f"{number:,}" for number in sums), *spent]


def _medians(rounds: Sequence[Sequence[float]], factor: float, digits: int) -> str:
    return " / ".join(f"{factor * median(values):,.{digits}f}" for values in zip(*rounds, strict=True)) or "–"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
