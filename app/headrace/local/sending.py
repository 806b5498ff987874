"""A trace sent as a service would send it, and waited for in MLflow. For the demo and the doctor."""

import json
import ssl
import time
import urllib.request
from http.client import HTTPException
from typing import Any

_ANSWER_SECONDS, _LOOK_SECONDS = 10.0, 5.0
_AWAY_SECONDS = 10.0


def opener(past_proxies: bool = False, context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """What opens URLs. `past_proxies`: the environment's proxies are not asked. `context`: whose certificates are believed."""
    handlers: list[Any] = [urllib.request.ProxyHandler({})] if past_proxies else []
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def send(by: urllib.request.OpenerDirector, url: str, body: bytes, headers: dict[str, str]) -> None:
    """POSTs an OTLP request in protobuf.

    Raises:
        HTTPError: it was refused; `otlp.error_words` reads its body.
        OSError, HTTPException: nobody answered, or not over HTTP.
    """
    post = urllib.request.Request(url, body, {"content-type": "application/x-protobuf", **headers})  # noqa: S310 - the user's own
    with by.open(post, timeout=_ANSWER_SECONDS):
        pass


def wait_visible(by: urllib.request.OpenerDirector, mlflow_url: str, trace_id: str, seconds: float) -> bool:
    """Asks MLflow's REST API until it shows the trace with its root. False: it did not within `seconds`, or nobody has listened
    there for the first `_AWAY_SECONDS` of them. A busy MLflow may take long to answer its first question."""
    began = time.monotonic()
    deadline = began + seconds
    while time.monotonic() < deadline:
        try:
            with by.open(f"{mlflow_url}/api/3.0/mlflow/traces/{trace_id}", timeout=_LOOK_SECONDS) as answer:
                if json.load(answer)["trace"]["trace_info"]["state"] != "IN_PROGRESS":
                    return True
        except (OSError, HTTPException, ValueError, KeyError) as error:
            refused = isinstance(getattr(error, "reason", None), ConnectionRefusedError)
            if refused and time.monotonic() > began + _AWAY_SECONDS:
                return False
        time.sleep(0.1)
    return False
