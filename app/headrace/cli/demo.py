"""`headrace demo`: sends one trace, and prints its link in the MLflow UI."""

from headrace.cli.command import load_settings
from headrace.cli.console import stderr


def demo(endpoint: str, experiment_id: str, api_key: str) -> None:
    """Sends the trace of `headrace.local.demo`. An empty `endpoint` is this machine's.

    Raises:
        StartError: it was refused, or nobody answered.
    """
    import time
    import urllib.error

    from headrace.errors import StartError
    from headrace.local.demo import demo_requests, send, wait_visible

    config = load_settings()
    scheme = "http" if config.tls_cert is None else "https"
    endpoint = endpoint or f"{scheme}://localhost:{config.http_port}/v1/traces"
    trace_id, requests = demo_requests(time.time_ns())
    headers = {"x-mlflow-experiment-id": experiment_id} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
    started = time.monotonic()
    try:
        for request in requests:
            send(endpoint, request, headers)
    except urllib.error.HTTPError as error:
        hint = " Give `headrace demo` the option --api-key." if error.code == 401 and not api_key else ""
        raise StartError(f"{endpoint} answered {error.code}: {_message(error.read())}{hint}") from None
    except urllib.error.URLError as error:
        raise StartError(f"Nothing answers at {endpoint} ({error.reason}). Is `headrace up` running?") from None
    stderr().print(f"Sent 6 spans of 3 services to {endpoint}.")
    if wait_visible(config.mlflow_api, trace_id, 10):
        stderr().print(f"Visible in MLflow after {time.monotonic() - started:.1f} s:")
        print(trace_url(config.ui_link, experiment_id, trace_id))
    else:
        stderr().print(
            f"Accepted, but no MLflow at {config.mlflow_api} shows it yet (HEADRACE_MLFLOW_URL says where to ask). "
            f"The trace is {trace_id}."
        )


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
