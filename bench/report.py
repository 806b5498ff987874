"""Measurements → medians over the rounds → one Markdown table, for the terminal and for bench/results; and JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil
from bench.load import ROOT
from bench.roads import Lab, Measurement

_RESULTS = Path(__file__).parent / "results"
_HEAD = ["requests", "road", "spans/s", "min–max", "× MLflow", "× COPY", "ack p50 / p99", "visible p50 / p99"]
_HEAD += ["CPU server / Postgres / load", "peak RSS"]
_CAPTION = "Medians of the rounds. Ack and visible in ms, CPU in seconds for a million spans, RSS in MiB."


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
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.shape, measurement.road), []).append(measurement)
    sound = {key: group for key, group in groups.items() if not any(m.failure for m in group)}
    rates = {key: median(m.spans_per_second for m in group) for key, group in sound.items()}
    lines = [_HEAD, ["---"] * 2 + ["--:"] * (len(_HEAD) - 2)]
    lines += [_line(*key, group, rates) if key in sound else [*key, "**FAILED**"] for key, group in groups.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{_CAPTION}\n"


def save(name: str, title: str, about: dict[str, object], measurements: Sequence[Measurement]) -> Path:
    """Writes bench/results/<name>.md and .json; returns the first."""
    _RESULTS.mkdir(exist_ok=True)
    known = "\n".join(f"- {key}: {json.dumps(value) if isinstance(value, dict) else value}" for key, value in about.items())
    text = f"# {title}\n\n{table(measurements)}\nThe method: [docs/benchmark.md](../../docs/benchmark.md).\n\n{known}\n"
    (_RESULTS / f"{name}.md").write_text(text)
    document = {"facts": about, "measurements": [asdict(measurement) for measurement in measurements]}
    (_RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    return _RESULTS / f"{name}.md"


def _line(shape: str, road: str, group: list[Measurement], rates: dict[tuple[str, str], float]) -> list[str]:
    own, spread = rates[shape, road], sorted(m.spans_per_second for m in group)
    beside = [f"{own / rates[shape, other]:.2f}" if (shape, other) in rates else "–" for other in ("mlflow", "copy")]
    waits = [_medians([m.ack for m in group], 1e3, 1), _medians([m.visible for m in group], 1e3, 1)]
    costs = [_medians([m.cpu for m in group], 1, 0), _medians([m.peak_rss for m in group], 2**-20, 0)]
    return [shape, road, f"{own:,.0f}", f"{spread[0]:,.0f}–{spread[-1]:,.0f}", *beside, *waits, *costs]


def _medians(rounds: Sequence[Sequence[float]], factor: float, digits: int) -> str:
    return " / ".join(f"{factor * median(values):,.{digits}f}" for values in zip(*rounds, strict=True)) or "–"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
