"""What the answer of an OTLP endpoint means for the metrics that were sent to it, as OTLP's specification says."""

from email.utils import formatdate
from time import time

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from headrace.export.endpoint import Answer, meaning


def test_a_success_was_sent() -> None:
    assert meaning(200, b"") == Answer("sent")
    assert meaning(202, b"\xff not protobuf") == Answer("sent")


def test_a_partial_success_was_sent_and_is_not_sent_again() -> None:
    partial = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    assert meaning(200, ExportMetricsServiceResponse(partial_success=partial).SerializeToString()) == Answer(
        "sent", "too old", 3
    )
    partial.rejected_data_points = -1
    assert meaning(200, ExportMetricsServiceResponse(partial_success=partial).SerializeToString()).rejected == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_these_statuses_are_sent_again(status: int) -> None:
    assert meaning(status, b"", "7") == Answer("later", f"HTTP {status}", wait=7.0)
    assert meaning(status, b"").wait is None


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 408, 413, 415, 500, 501])
def test_all_others_are_refused_for_good(status: int) -> None:
    assert meaning(status, Status(message="no\nsuch").SerializeToString(), "7") == Answer("refused", f"HTTP {status} no such")
    assert meaning(status, b"<html>\x1b[2J").said == f"HTTP {status} <html>[2J"
    assert len(meaning(status, b"x" * 10_000).said) < 400


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("0", 0.0), ("30", 30.0), ("99999999999999999999", 600.0), ("-3", None), ("soon", None), ("1e9", None), ("", None)],
)
def test_when_to_send_again(retry_after: str, seconds: float | None) -> None:
    assert meaning(503, b"", retry_after).wait == seconds


def test_when_to_send_again_by_a_date() -> None:
    wait = meaning(503, b"", formatdate(time() + 100, usegmt=True)).wait
    assert wait is not None
    assert 90 < wait <= 100
    assert meaning(503, b"", formatdate(0, usegmt=True)).wait == 0.0
