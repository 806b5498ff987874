"""Envelopes as records of Kafka, and back. No I/O.

A record holds spans (or log records) of one trace: key = the trace id in lower-case hex, value = an `ExportTraceServiceRequest`
(or its sibling), which is what the Collector's Kafka receiver reads as `otlp_proto`. Data points have no trace, and no key. All
else that an envelope says stands in headers, none of it a secret:

    headrace-envelope          the envelope without its request (proto/), from which a writer makes the envelope again
    headrace-received          when it was received, in Unix nanoseconds
    headrace-signal            traces, logs or metrics
    headrace-key               the name of the API key
    x-mlflow-experiment-id, x-mlflow-experiment-name, x-mlflow-run-id     where it goes, as an exporter would say it
    headrace-whole             the value is an envelope as it was offered, because it could not be read
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import AnyDelivery, by_trace, halves
from headrace.errors import BodyTooLarge
from headrace.otlp.wire import field_of, head_of

ENVELOPE, RECEIVED, SIGNAL, KEY, WHOLE = (
    "headrace-envelope",
    "headrace-received",
    "headrace-signal",
    "headrace-key",
    "headrace-whole",
)
OTHERS_SIGNAL = "otelcol.signal"
OVERHEAD = 1024
"""Bytes of a record beside its value and the header `headrace-envelope`, at the most."""

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Record:
    """One record to be sent. `bytes` is the size of the envelope that it becomes again."""

    key: bytes | None
    value: bytes
    headers: Headers
    bytes: int


def encode(envelope: bytes, most: int, now: int) -> list[Record]:
    """An envelope → records, in the order of its traces; each takes at most `most` bytes. `now` in Unix nanoseconds.

    Raises:
        BodyTooLarge: a single span takes more.
    """
    try:
        delivery = Delivery.from_envelope(envelope)
        traces = by_trace(delivery)
    except (DecodeError, ValueError):
        traces = []
    if not traces:
        return [_whole(envelope, most, now)]
    return [_record(trace_id, part, value, now) for trace_id, trace in traces for part, value in _small(trace, most - OVERHEAD)]


def decode(headers: Mapping[str, bytes], value: bytes) -> bytes | None:
    """The envelope that a record holds. None: no Headrace wrote it."""
    if WHOLE in headers:
        return value
    head = headers.get(ENVELOPE)
    if head is None:
        return None
    return head + field_of(pb.Envelope.REQUEST_FIELD_NUMBER, value) if value else head


def offered_at(headers: Mapping[str, bytes], otherwise: int) -> int:
    """When a record was offered, in Unix nanoseconds."""
    text = headers.get(RECEIVED, b"")
    return int(text) if text.isdigit() and len(text) < 20 else otherwise


def _small(delivery: AnyDelivery, most: int) -> Iterator[tuple[AnyDelivery, bytes]]:
    """Halves a delivery until each part takes at most `most` bytes. Yields each part and its request's bytes."""
    value = delivery.request.SerializeToString()
    if len(value) + _head_size(delivery) <= most:
        yield delivery, value
    elif split := halves(delivery):
        for half in split:
            yield from _small(half, most)
    else:
        raise BodyTooLarge(_too_large(len(value), most))


def _too_large(size: int, most: int) -> str:
    return (
        f"A single record takes {size} bytes, and one of the Kafka topic at most {most}: send smaller attributes, or raise "
        "max.message.bytes of the topic and of its brokers."
    )


def _head_size(delivery: AnyDelivery) -> int:
    return len(_head(delivery))


def _head(delivery: AnyDelivery) -> bytes:
    """The envelope without its request."""
    return replace(delivery, request=delivery.signal.request()).to_envelope()


def _record(trace_id: bytes, delivery: AnyDelivery, value: bytes, now: int) -> Record:
    head = _head(delivery)
    headers = [
        (ENVELOPE, head),
        (RECEIVED, str(delivery.received_unix_nano or now).encode()),
        (SIGNAL, delivery.signal.name.encode()),
        *_readable(delivery),
    ]
    size = len(head) + len(head_of(pb.Envelope.REQUEST_FIELD_NUMBER, len(value))) + len(value)
    return Record(trace_id.hex().encode() or None, value, headers, size)


def _readable(delivery: AnyDelivery) -> Iterator[tuple[str, bytes]]:
    """What other readers of the topic may want to know."""
    if len({(each.experiment_id, each.experiment_name) for each in delivery.destinations}) == 1:
        destination = delivery.destinations[0]
        if destination.experiment_id:
            yield "x-mlflow-experiment-id", destination.experiment_id.encode()
        elif destination.experiment_name:
            yield "x-mlflow-experiment-name", destination.experiment_name.encode()
    if delivery.run_id:
        yield "x-mlflow-run-id", delivery.run_id.encode()
    if delivery.key_name:
        yield KEY, delivery.key_name.encode()


def _whole(envelope: bytes, most: int, now: int) -> Record:
    if len(envelope) > most - OVERHEAD:
        raise BodyTooLarge(_too_large(len(envelope), most - OVERHEAD))
    return Record(None, envelope, [(WHOLE, b"1"), (RECEIVED, str(now).encode())], len(envelope))
