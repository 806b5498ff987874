"""Envelopes as records, and back."""

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.limit import Limit
from headrace.errors import BodyTooLarge
from headrace.otlp.spans import spans_of
from headrace.queue.kafka.records import OVERHEAD, Record, decode, encode, offered_at

MOST = 1_000_000
NOW = 1_700_000_000_000_000_007


def delivery(*traces: int, size: int = 0) -> Delivery:
    """A request of two services, with a span of each trace from each."""
    request = ExportTraceServiceRequest()
    for service in ("shop", "payment"):
        spans = [otlp.span(service, bytes([n] * 16), bytes([n] * 8), attrs={"a": "x" * size}) for n in traces]
        request.resource_spans.append(otlp.resource_spans(*spans, service=service))
    places = pb.Destination(experiment_id="7"), pb.Destination(experiment_name="pay", routed_by=pb.ROUTED_BY_RULE)
    return Delivery(request, places, "run", NOW, "agent", "key", 5, Limit.of(["7", "pay"]))


def read(record: Record) -> Delivery:
    envelope = decode(dict(record.headers), record.value)
    assert envelope is not None
    assert len(envelope) == record.bytes
    return Delivery.from_envelope(envelope)


def test_a_trace_is_a_record_and_nothing_is_lost() -> None:
    whole = delivery(1, 2, 3)
    records = encode(whole.to_envelope(), MOST, NOW)
    assert [record.key for record in records] == [bytes([n] * 16).hex().encode() for n in (1, 2, 3)]
    for number, record in enumerate(records, 1):
        assert read(record) == delivery(number)
        assert offered_at(dict(record.headers), 0) == NOW


def test_a_single_trace_keeps_its_bytes() -> None:
    envelope = delivery(4).to_envelope()
    (record,) = encode(envelope, MOST, NOW)
    assert decode(dict(record.headers), record.value) == envelope


def test_what_others_read_stands_in_headers_and_no_secret_does() -> None:
    one = delivery(1)
    one = Delivery(one.request, (one.destinations[0],) * 2, "run", NOW, "agent", "key")
    (record,) = encode(one.to_envelope(), MOST, NOW)
    headers = dict(record.headers)
    assert headers.pop("headrace-envelope")
    assert headers == {
        "headrace-received": str(NOW).encode(),
        "headrace-signal": b"traces",
        "x-mlflow-experiment-id": b"7",
        "x-mlflow-run-id": b"run",
        "headrace-key": b"key",
    }
    assert ExportTraceServiceRequest.FromString(record.value) == one.request


def test_where_a_record_has_several_destinations_no_header_names_one() -> None:
    (record,) = encode(delivery(1).to_envelope(), MOST, NOW)
    assert not [name for name, _ in record.headers if name.startswith("x-mlflow-experiment")]
    assert read(record).destinations == delivery(1).destinations


def test_no_record_is_larger_than_it_may_be() -> None:
    most = 40_000 + OVERHEAD
    records = encode(delivery(*range(1, 5), size=19_000).to_envelope(), most, NOW)
    assert all(len(record.value) + len(dict(record.headers)["headrace-envelope"]) <= most for record in records)
    assert len(records) == 4
    smaller = encode(delivery(*range(1, 5), size=19_000).to_envelope(), 30_000, NOW)
    assert len(smaller) == 8
    assert sum(len(spans_of(read(record).request)) for record in smaller) == 8


def test_a_span_that_fits_into_no_record_is_said_to_be_too_large() -> None:
    with pytest.raises(BodyTooLarge, match=r"max\.message\.bytes"):
        encode(delivery(1, size=50_000).to_envelope(), 50_000, NOW)


@pytest.mark.parametrize("envelope", [b"", b"one", b"\x00", b"x" * 600, pb.Envelope(request=b"\xff").SerializeToString()])
def test_what_cannot_be_read_is_carried_as_it_is(envelope: bytes) -> None:
    (record,) = encode(envelope, MOST, NOW)
    assert record.key is None
    assert decode(dict(record.headers), record.value) == envelope
    assert record.bytes == len(envelope)


def test_what_no_headrace_wrote_is_not_taken_for_an_envelope() -> None:
    assert decode({"x-mlflow-experiment-id": b"7"}, b"") is None
    assert offered_at({"headrace-received": b"soon"}, 5) == 5
