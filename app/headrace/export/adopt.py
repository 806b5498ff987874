"""What others have written into the queue's topic: a Collector's record → envelopes, as a receiver would have made them.

Nobody waits for an answer any more. So what a receiver would reject is kept: it becomes a dead letter, with the reason.
Whoever may write to the topic may write to any experiment: Kafka's own rules say who may.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.config import Config
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import RUN_HEADER, Request, Sender, said_once
from headrace.envelope.split import halves
from headrace.errors import HeadraceError, Unroutable
from headrace.otlp.attributes import to_dict
from headrace.otlp.codec import Encoding
from headrace.otlp.signals.signal import Decoded
from headrace.otlp.signals.traces import Traces
from headrace.processor import Processor, chain
from headrace.processor.route import route_headers, route_resource
from headrace.processor.verdict import Verdict
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.metrics import KAFKA_ADOPTED, SPANS_ACCEPTED, SPANS_RECEIVED, SPANS_REJECTED, SPANS_REPAIRED

_SIGNAL_HEADERS = ("headrace-signal", "otelcol.signal")
_AGENT = "kafka"
"""The user agent of a record that names none."""

Refusable = tuple[bytes, str]
"""An envelope, and why it can never be written. Empty: it can."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known of a record beside its spans."""

    sender: Sender
    written_unix_nano: int


class Adopter:
    """Reads records that no Headrace wrote: `otlp_proto` or `otlp_json`, of any number of traces, with any key. The headers are
    taken for those of a request: `x-mlflow-experiment-id` and its like say where the spans go."""

    def __init__(self, config: Config, processors: Sequence[Processor]) -> None:
        self._config = config
        self._processors = processors
        self._traces = Traces()

    def __call__(self, headers: Mapping[str, bytes], value: bytes, written_unix_nano: int) -> list[Refusable]:
        """See `headrace.queue.kafka.queue.Adopt`."""
        try:
            signal = next((headers[name] for name in _SIGNAL_HEADERS if name in headers), b"traces").decode(errors="replace")
            if signal != "traces":
                raise Unroutable(f"The record holds {signal[:40]}: from Kafka, traces alone are written.")
            encoding = Encoding.JSON if value[:64].lstrip()[:1] == b"{" else Encoding.PROTOBUF
            decode = partial(self._traces.decode, value, encoding)
            decoded = decode()
        except HeadraceError as error:
            KAFKA_ADOPTED.labels("refused").inc()
            log_rarely("record refused", "record refused", reason=str(error))
            return [(_unread(value, written_unix_nano), str(error))]
        KAFKA_ADOPTED.labels("read").inc()
        said = {name.lower(): text.decode(errors="replace") for name, text in headers.items()}
        record = _Record(Sender({"user-agent": _AGENT} | said), written_unix_nano)
        return [*self._spans(decoded, record, decode), *_unparsed(decoded, value, written_unix_nano)]

    def _spans(self, decoded: Decoded, record: _Record, decode: Callable[[], Decoded]) -> Iterator[Refusable]:
        request = Request(decoded.message, record.sender, decoded.original, 0, decoded.notes)
        verdict = Verdict.of(request)
        request = chain(self._processors, request, verdict)
        SPANS_RECEIVED.inc(decoded.records + decoded.unparsed)
        SPANS_ACCEPTED.inc(verdict.accepted)
        for rule, count in verdict.repaired.items():
            SPANS_REPAIRED.labels(rule).inc(count)
        if verdict.rejected:
            log_rarely("spans rejected", min(verdict.rejected), reason=verdict.explain(), client="kafka")
            yield from self._apart(_delivery(decode().message, record, ()), record)  # as it was before the processors
        elif verdict.accepted:
            yield from self._routed(request, record)

    def _apart(self, delivery: Delivery, record: _Record) -> Iterator[Refusable]:
        """Halves what has a span that is rejected, until that span is alone."""
        request = Request(_copy(delivery.request), record.sender)
        verdict = Verdict.of(request)
        request = chain(self._processors, request, verdict)
        if not verdict.rejected:
            yield from self._routed(request, record)
        elif split := halves(delivery):
            for half in split:
                yield from self._apart(half, record)
        else:
            for reason, count in verdict.rejected.items():
                SPANS_REJECTED.labels(reason).inc(count)
            yield delivery.to_envelope(), verdict.explain()

    def _routed(self, request: Request, record: _Record) -> Iterator[Refusable]:
        """One envelope with all resources that have a destination, and one for each that has none."""
        fates = self._fates(request, record.sender)
        if all(isinstance(fate, pb.Destination) for fate in fates):
            request.destinations = [fate for fate in fates if isinstance(fate, pb.Destination)]
            yield request.to_envelope(record.written_unix_nano), ""
            return
        for resource_spans, fate in zip(request.for_change().resource_spans, fates, strict=True):
            alone = ExportTraceServiceRequest(resource_spans=[resource_spans])
            destination, reason = (fate, "") if isinstance(fate, pb.Destination) else (pb.Destination(), str(fate))
            if reason:
                SPANS_REJECTED.labels("no_experiment").inc(sum(len(scope.spans) for scope in resource_spans.scope_spans))
            yield _delivery(alone, record, (destination,)).to_envelope(), reason

    def _fates(self, request: Request, sender: Sender) -> list[pb.Destination | Unroutable]:
        fates: list[pb.Destination | Unroutable] = []
        for resource_spans in request.message.resource_spans:
            try:
                route = route_headers(sender.headers) or route_resource(
                    to_dict(resource_spans.resource.attributes), self._config
                )
            except Unroutable as error:
                fates.append(error)
            else:
                id_ = "" if route.id is None else str(route.id)
                fates.append(pb.Destination(experiment_id=id_, experiment_name=route.name, routed_by=route.routed_by))
        return fates


def _delivery(message: ExportTraceServiceRequest, record: _Record, destinations: Sequence[pb.Destination]) -> Delivery:
    places = tuple(destinations) or (pb.Destination(),) * len(message.resource_spans)
    agent = record.sender.headers["user-agent"][:256]
    run_id = said_once(record.sender.headers.get(RUN_HEADER, ""))[:256]
    return Delivery(message, places, run_id, record.written_unix_nano, agent)


def _copy(message: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    copy = ExportTraceServiceRequest()
    copy.CopyFrom(message)
    return copy


def _unparsed(decoded: Decoded, value: bytes, written_unix_nano: int) -> Iterator[Refusable]:
    """A dead letter with the whole record, if there are spans in it that cannot be parsed."""
    lost = decoded.unparsed + decoded.notes.unread
    if lost:
        SPANS_REJECTED.labels("malformed_span").inc(lost)
        reason = f"{lost} spans of this record cannot be parsed ({decoded.notes.why}); the others are written."
        yield _unread(value, written_unix_nano), reason


def _unread(value: bytes, written_unix_nano: int) -> bytes:
    return pb.Envelope(received_unix_nano=written_unix_nano, user_agent=_AGENT, request=value).SerializeToString()
