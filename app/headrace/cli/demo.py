"""`headrace demo`: sends one trace, and prints its link in the MLflow UI; or sends traces all the time."""

import time
import urllib.error
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.cli.command import load_settings
from headrace.cli.console import stderr

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def demo(endpoint: str, experiment_id: str, api_key: str, rate: float, seconds: float) -> None:
    """Sends traces of `headrace.local.demo`. An empty `endpoint` is this machine's.

    `rate`: traces a minute, each another one, until `seconds` have passed (0: for ever). With rate 0 it sends one, waits until
    MLflow shows it, and prints its link.

    Raises:
        StartError: one was refused, or nobody answered.
    """
    from headrace.local.demo import demo_requests, wait_visible

    config = load_settings()
    scheme = "http" if config.tls_cert is None else "https"
    endpoint = endpoint or f"{scheme}://localhost:{config.http_port}/v1/traces"
    headers = {"x-mlflow-experiment-id": experiment_id} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
    if rate:
        _go_on(lambda: _send_any(endpoint, headers), rate, seconds)
        return
    trace_id, requests = demo_requests(time.time_ns())
    started = time.monotonic()
    _send(endpoint, headers, requests)
    stderr().print(f"Sent 6 spans of 3 services to {endpoint}.")
    if wait_visible(config.mlflow_api, trace_id, 10):
        stderr().print(f"Visible in MLflow after {time.monotonic() - started:.1f} s:")
        print(trace_url(config.ui_link, experiment_id, trace_id))
    else:
        stderr().print(
            f"Accepted, but no MLflow at {config.mlflow_api} shows it yet (HEADRACE_MLFLOW_URL says where to ask). "
            f"The trace is {trace_id}."
        )


def _go_on(send: Callable[[], None], rate: float, seconds: float) -> None:
    """Calls `send` so many times a minute, and shows how many times it was."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    began, sent = time.monotonic(), 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=stderr(), transient=True, disable=not stderr().is_terminal) as bar:
            task = bar.add_task("")
            while not seconds or time.monotonic() - began < seconds:
                send()
                sent += 1
                bar.update(task, description=f"{sent} traces sent; Ctrl-C stops")
                time.sleep(max(0.0, began + sent * 60 / rate - time.monotonic()))
    finally:
        stderr().print(f"Sent {sent} traces.")


def _send_any(endpoint: str, headers: dict[str, str]) -> None:
    from random import SystemRandom

    from headrace.local.demo import Checkout, demo_requests

    _send(endpoint, headers, demo_requests(time.time_ns(), Checkout.any(SystemRandom()))[1])


def _send(endpoint: str, headers: dict[str, str], requests: "list[ExportTraceServiceRequest]") -> None:
    from headrace.errors import StartError
    from headrace.local.demo import send

    try:
        for request in requests:
            send(endpoint, request, headers)
    except urllib.error.HTTPError as error:
        hint = " Give `headrace demo` the option --api-key." if error.code == 401 and "authorization" not in headers else ""
        raise StartError(f"{endpoint} answered {error.code}: {_message(error.read())}{hint}") from None
    except urllib.error.URLError as error:
        raise StartError(f"Nothing answers at {endpoint} ({error.reason}). Is `headrace up` running?") from None


def _message(body: bytes) -> str:
    """The message in an OTLP receiver's error; if the answer is another server's, its first 500 bytes."""
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return str(Status.FromString(body).message)
    except DecodeError:
        return repr(body[:500])


def trace_url(ui_url: str, experiment_id: str, trace_id: str) -> str:
    """The page of MLflow's UI that shows one trace."""
    return f"{ui_url}/#/experiments/{experiment_id}/traces?selectedEvaluationId={trace_id}"
