"""Minutes without Postgres at half of the rate that is written at most: is memory flat, and how fast is the backlog written?"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg
from bench.load import Outcome, Plan, generate
from bench.shapes import SHAPES
from conftest import Launcher, wait_until

from faults.cluster import Cluster
from faults.proxy import Proxy
from faults.stage import Stage, Usage

_SHAPE = "10x10"
_SATURATED_SECONDS = 30


def outage(directory: Path, minutes: float) -> int:
    """Prints the figures; returns the exit status: 1 for a missing span, memory that grows, a slow drain."""
    cluster = Cluster(directory / "pg")
    launcher = Launcher(directory)
    # Without the proxy in between: it would be what is measured.
    stage = Stage(cluster, Proxy(cluster.port, Random(1)), launcher, Random(1))
    try:
        stage.start(2, direct=True)
        wait_until(lambda: len(stage.workers()) == 2, what="both workers")
        return _measure(stage, minutes)
    finally:
        launcher.stop_all()
        cluster.stop()


def _measure(stage: Stage, minutes: float) -> int:
    plan = Plan(_SHAPE, 16, _SATURATED_SECONDS, 10**9, port=int(stage.running.url.rpartition(":")[2]), processes=2)
    warm = generate(replace(plan, seconds=5))
    stage.drained()
    full = generate(plan)
    stage.drained()
    saturated = full.acknowledged / (time.monotonic() - full.first)
    print(f"saturated: {saturated * SHAPES[_SHAPE].size:,.0f} spans/s written", flush=True)
    stage.cluster.stop()
    rate = saturated / 2
    half = replace(plan, seconds=minutes * 60, rate=rate, requests=int(rate * minutes * 60))
    outcome, usages = _watch(stage, half)
    stage.cluster.start()
    began = time.monotonic()
    stage.drained()
    drained = outcome.acknowledged / (time.monotonic() - began)
    print(f"drained: {stage.usage()}", flush=True)
    return _judge(stage, [warm, full, outcome], usages, saturated, drained)


def _watch(stage: Stage, plan: Plan) -> tuple[Outcome, list[Usage]]:
    """Carries out the plan; prints a line now and then."""
    usages, began, pause = [], time.monotonic(), max(2.0, plan.seconds / 30)
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(generate, plan)
        while not done.done():
            usages.append(stage.usage())
            queue = stage.queue()
            waits = f"{queue.get('requests', 0):,} requests wait, {queue.get('bytes', 0) / 2**20:,.0f} MiB"
            print(f"{time.monotonic() - began:5.0f} s  {usages[-1]}; {waits}", flush=True)
            time.sleep(pause)
    return done.result(), usages


def _judge(stage: Stage, outcomes: list[Outcome], usages: list[Usage], saturated: float, drained: float) -> int:
    size = SHAPES[_SHAPE].size
    with psycopg.connect(stage.cluster.url) as connection:
        row = connection.execute("SELECT count(*) FROM spans").fetchone()
    found = row[0] if row else 0
    acknowledged = sum(outcome.acknowledged for outcome in outcomes) * size
    share = drained / saturated
    early = max(usage.rss for usage in usages[: len(usages) // 3 + 1])
    grown = max(usage.rss for usage in usages) / early
    refused = outcomes[-1].refused
    print(
        f"acknowledged {acknowledged:,} spans, stored {found:,}, refused {refused:,} requests while Postgres was away",
        f"memory at its most: {grown:.2f} times that of the first third",
        f"backlog written at {drained * size:,.0f} spans/s, {share:.0%} of the saturated rate",
        sep="\n",
        flush=True,
    )
    return int(found < acknowledged or refused > 0 or grown > 1.15 or share < 0.8)
