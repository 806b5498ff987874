"""`headrace demo`: sends one trace of each scenario, and prints their links; or sends traces all the time."""

import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from random import SystemRandom
from typing import TYPE_CHECKING

from headrace.cli.command import load_settings
from headrace.cli.console import stderr

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.local.demo import Made, Pipeline

_VISIBLE_SECONDS = 60.0
_TRACES, _METRICS = "/v1/traces", "/v1/metrics"


def demo(endpoint: str, experiment_id: str, api_key: str, scenarios: Sequence[str], rate: float, seconds: float) -> None:
    """Sends traces of `headrace.local.demo`. An empty `endpoint` is this machine's; no scenario named: all of them.

    `rate`: traces a minute, each another one, until `seconds` have passed (0: for ever). With rate 0 it sends one of each
    scenario, waits until MLflow shows them, and prints their links.

    Raises:
        StartError: one was refused, or nobody answered.
    """
    from headrace.local.demo import SCENARIOS, any_of

    config = load_settings()
    scheme = "http" if config.tls_cert is None else "https"
    headers = {"x-mlflow-experiment-id": experiment_id} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
    target = _Target(endpoint or f"{scheme}://localhost:{config.http_port}{_TRACES}", headers)
    names = list(scenarios or SCENARIOS)
    if rate:
        _go_on(lambda: target.send(any_of(names, SystemRandom())), rate, seconds)
    else:
        _once(config, target, experiment_id, names)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the demo sends, and how."""

    endpoint: str
    headers: dict[str, str]

    def send(self, made: "Made", **more: str) -> str:
        """Sends a trace that ends now. Returns MLflow's id of it."""
        from headrace.local.demo import demo_requests

        trace_id, requests = demo_requests(time.time_ns(), made)
        for request in requests:
            self.post(self.endpoint, request.SerializeToString(), **more)
        return trace_id

    def send_metrics(self, made: "Pipeline", run_id: str) -> None:
        """Sends what a training measured into the run."""
        body = made.metrics(time.time_ns()).SerializeToString()
        self.post(self.endpoint.removesuffix(_TRACES) + _METRICS, body, x_mlflow_run_id=run_id)

    def post(self, url: str, body: bytes, **more: str) -> None:
        """POSTs; underscores in the names of headers become hyphens."""
        from headrace.errors import StartError
        from headrace.local.sending import opener, send
        from headrace.otlp.error_words import error_words

        try:
            send(opener(), url, body, self.headers | {name.replace("_", "-"): value for name, value in more.items()})
        except urllib.error.HTTPError as error:
            needs_key = error.code == 401 and "authorization" not in self.headers
            hint = " Give `headrace demo` the option --api-key." if needs_key else ""
            raise StartError(f"{url} answered {error.code}: {error_words(error.read(65_536))}{hint}") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise StartError(f"Nothing answers at {url} ({reason}). Is `headrace up` running?") from None


def _once(config: "Config", target: _Target, experiment_id: str, names: Sequence[str]) -> None:
    """One of each scenario. Prints MLflow's links to stdout, a line each, and all else to stderr."""
    from headrace.local.demo import SCENARIOS

    started = time.monotonic()
    sent: list[str] = []
    run_id = ""
    with _bar(f"Sending to {target.endpoint}", len(names)) as step:
        for name in names:
            if name == "pipeline":
                trace_id, run_id = _send_pipeline(config, target, experiment_id)
            else:
                trace_id = target.send(SCENARIOS[name]())
            sent.append(trace_id)
            step()
    stderr().print(f"Sent {len(sent)} {'traces' if len(sent) > 1 else 'trace'} to {target.endpoint}: {', '.join(names)}.")
    if _are_visible(config, sent):
        stderr().print(f"Visible in MLflow after {time.monotonic() - started:.1f} s:")
        _print_links(config, experiment_id, dict(zip(names, sent, strict=True)), run_id)


def _are_visible(config: "Config", trace_ids: Sequence[str]) -> bool:
    """Waits until MLflow shows these traces. If one does not come, says so and returns False."""
    from headrace.local.sending import opener, wait_visible

    with _bar("Waiting for MLflow", len(trace_ids)) as step:
        for trace_id in trace_ids:
            if not wait_visible(opener(), config.mlflow_api, trace_id, _VISIBLE_SECONDS):
                stderr().print(
                    f"Accepted, but no MLflow at {config.mlflow_api} shows it yet (HEADRACE_MLFLOW_URL says where to ask). "
                    f"The trace is {trace_id}."
                )
                return False
            step()
    return True


def _send_pipeline(config: "Config", target: _Target, experiment_id: str) -> tuple[str, str]:
    """The pipeline's trace, and its metrics in a run, if MLflow makes one. Returns the ids of both; no run: an empty one."""
    from headrace.local.demo import Pipeline
    from headrace.local.demo.run import end_run, start_run
    from headrace.local.sending import opener

    made = Pipeline()
    run_id = start_run(opener(), config.mlflow_api, experiment_id)
    if not run_id:
        stderr().print(f"No MLflow at {config.mlflow_api} makes a run: the pipeline is sent without its metrics.")
        return target.send(made), ""
    trace_id = target.send(made, x_mlflow_run_id=run_id)
    target.send_metrics(made, run_id)
    end_run(opener(), config.mlflow_api, run_id)
    return trace_id, run_id


def _print_links(config: "Config", experiment_id: str, traces: dict[str, str], run_id: str) -> None:
    for name, trace_id in traces.items():
        stderr().print(f"  {name}; in the console: {config.console_link}/traces/{trace_id}", style="dim")
        print(trace_url(config.ui_link, experiment_id, trace_id), flush=True)
    if run_id:
        stderr().print(f"  the pipeline's run: {config.ui_link}/#/experiments/{experiment_id}/runs/{run_id}", style="dim")


def _go_on(send: Callable[[], object], rate: float, seconds: float) -> None:
    """Calls `send` so many times a minute, and shows how many times it was."""
    began, sent = time.monotonic(), 0
    try:
        with _bar("Sending; Ctrl-C stops", round(seconds * rate / 60) or None) as step:
            while not seconds or time.monotonic() - began < seconds:
                send()
                sent += 1
                step()
                time.sleep(max(0.0, began + sent * 60 / rate - time.monotonic()))
    finally:
        stderr().print(f"Sent {sent} traces.")


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, gone at the end. `total` None: it only counts. Yields what is called after each step."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    counted = "{task.completed}" if total is None else "{task.completed} of {task.total}"
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn(counted), TimeElapsedColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not stderr().is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def trace_url(ui_url: str, experiment_id: str, trace_id: str) -> str:
    """The page of MLflow's UI that shows one trace."""
    return f"{ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}"
