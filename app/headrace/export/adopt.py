"""What others have written into the queue's topic: a Collector's record → envelopes, as a receiver would have made them.

Nobody waits for an answer any more. So what a receiver would reject is kept: it becomes a dead letter, with the reason.
Whoever may write to the topic may write to any experiment: Kafka's own rules say who may.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from headrace.config import Config
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import RUN_HEADER, AnyRequest, Request, Sender, said_once
from headrace.envelope.split import AnyDelivery, halves
from headrace.errors import HeadraceError, MalformedBody, Unroutable
from headrace.otlp.attributes import to_dict
from headrace.otlp.codec import Encoding
from headrace.otlp.signals import METRICS, SIGNALS, TRACES, Decoded, Signal
from headrace.processor import Processor, chain
from headrace.processor.points import RUN_ID, RUN_NAME, run_of
from headrace.processor.route import route_headers, route_resource
from headrace.processor.verdict import Verdict
from headrace.telemetry.kafka import KAFKA_ADOPTED
from headrace.telemetry.logging import log_rarely
from headrace.telemetry.records import COUNTERS

_SIGNAL_HEADERS = ("headrace-signal", "otelcol.signal")
_AGENT = "kafka"
"""The user agent of a record that names none."""
_MAX_TEXT = 256
_JSON = re.compile(rb'\s*{\s*(?:"(\w+)"\s*:|}\s*$)')
"""The beginning of a JSON object. Protobuf begins with a line feed, and then with `{` where what follows has 123 bytes: so the
first key has to be there, or nothing."""

Refusable = tuple[bytes, str]
"""An envelope, and why it can never be written. Empty: it can."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known of a record of Kafka beside what it holds."""

    signal: Signal
    sender: Sender
    written_unix_nano: int

    def delivery(self, message: Any, destinations: Sequence[pb.Destination] = ()) -> AnyDelivery:
        """A message as a delivery. Without destinations, each of its resources has one that says nothing."""
        places = tuple(destinations) or (pb.Destination(),) * len(self.signal.form.resources_of(message))
        run_id = said_once(self.sender.headers.get(RUN_HEADER, ""))[:_MAX_TEXT]
        agent = self.sender.headers["user-agent"][:_MAX_TEXT]
        return Delivery(message, places, run_id, self.written_unix_nano, agent, signal=self.signal)


class Adopter:
    """Reads records that no Headrace wrote: `otlp_proto` or `otlp_json`, of any number of traces, with any key. The headers are
    taken for those of a request: `x-mlflow-experiment-id` and its like say where it goes.

    `processors`: what a request of each signal passes through.
    """

    def __init__(self, config: Config, processors: Mapping[Signal, Sequence[Processor]]) -> None:
        self._config = config
        self._processors = processors

    def __call__(self, headers: Mapping[str, bytes], value: bytes, written_unix_nano: int) -> list[Refusable]:
        """See `headrace.queue.kafka.queue.Adopt`."""
        said = {name.lower(): text.decode(errors="replace") for name, text in headers.items()}
        try:
            encoding = Encoding.JSON if _JSON.match(value) else Encoding.PROTOBUF
            signal = self._signal(said, value if encoding is Encoding.JSON else b"")
            decode = partial(signal.decode, value, encoding)
            decoded = decode()
        except HeadraceError as error:
            KAFKA_ADOPTED.labels("refused").inc()
            log_rarely("record refused", "record refused", reason=str(error))
            return [(_unread(value, written_unix_nano), str(error))]
        KAFKA_ADOPTED.labels("read").inc()
        record = _Record(signal, Sender({"user-agent": _AGENT} | said), written_unix_nano)
        return [*self._accepted(decoded, record, decode), *_unparsed(decoded, value, record)]

    def _signal(self, headers: Mapping[str, str], json: bytes) -> Signal:
        """What a record holds: as a header says; as the first key of its JSON says; else as HEADRACE_QUEUE_URL does, since in
        protobuf the signals cannot be told apart."""
        name = next((headers[header] for header in _SIGNAL_HEADERS if header in headers), "")
        name = name or _in_json(json) or (self._config.kafka.signal if self._config.kafka else TRACES.name)
        known = next((signal for signal in SIGNALS if signal.name == name), None)
        if known is None:
            raise MalformedBody(f"The record holds {name[:40]}, which Headrace does not write.")
        return known

    def _accepted(self, decoded: Decoded, record: _Record, decode: Callable[[], Decoded]) -> Iterator[Refusable]:
        counters = COUNTERS[record.signal.name]
        request, verdict = self._process(decoded.message, record, decoded)
        counters.received.inc(decoded.records + decoded.unparsed)
        counters.accepted.inc(verdict.accepted)
        for rule, count in verdict.repaired.items():
            counters.repaired(rule).inc(count)
        if verdict.rejected:
            log_rarely("spans rejected", min(verdict.rejected), reason=verdict.explain(), client=_AGENT)
            yield from self._apart(record.delivery(decode().message), record)  # as it was before the processors
        elif verdict.accepted:
            yield from self._routed(request, record)

    def _process(self, message: Any, record: _Record, decoded: Decoded | None = None) -> tuple[AnyRequest, Verdict]:
        original, notes = (decoded.original, decoded.notes) if decoded else (None, None)
        request: AnyRequest = Request(message, record.sender, original, 0, notes, record.signal)
        verdict = Verdict.of(request)
        return chain(self._processors[record.signal], request, verdict), verdict

    def _apart(self, delivery: AnyDelivery, record: _Record) -> Iterator[Refusable]:
        """Halves what has a record that is rejected, until that one is alone."""
        copy = record.signal.form.request()
        copy.CopyFrom(delivery.request)
        request, verdict = self._process(copy, record)
        if not verdict.rejected:
            yield from self._routed(request, record)
        elif split := halves(delivery):
            for half in split:
                yield from self._apart(half, record)
        else:
            for reason, count in verdict.rejected.items():
                COUNTERS[record.signal.name].rejected(reason).inc(count)
            yield delivery.to_envelope(), verdict.explain()

    def _routed(self, request: AnyRequest, record: _Record) -> Iterator[Refusable]:
        """One envelope, if all resources have a destination; else one for each."""
        form = record.signal.form
        fates = [self._fate(resource, record) for resource in request.resources]
        places = [fate for fate in fates if isinstance(fate, pb.Destination)]
        if len(places) == len(fates):
            request.destinations = places
            yield request.to_envelope(record.written_unix_nano), ""
            return
        for resource, fate in zip(form.resources_of(request.for_change()), fates, strict=True):
            alone = form.request()
            getattr(alone, form.resources).append(resource)
            if isinstance(fate, pb.Destination):
                yield record.delivery(alone, (fate,)).to_envelope(), ""
            else:
                COUNTERS[record.signal.name].rejected("no_experiment").inc(form.count_in(resource))
                yield record.delivery(alone).to_envelope(), str(fate)

    def _fate(self, resource: Any, record: _Record) -> pb.Destination | Unroutable:
        """Where a resource goes. Whether there is such a run, and in which experiment, the writer of metrics tells."""
        headers = record.sender.headers
        run: Mapping[str, str] = {}
        if record.signal is METRICS:
            run = run_of(resource)
            if id_ := said_once(headers.get(RUN_HEADER, "")) or run.get(RUN_ID, ""):
                return pb.Destination(run_id=id_)
            if not run.get(RUN_NAME):  # without HEADRACE_METRICS_FORWARD the processors have rejected it
                return pb.Destination(forward=True)
        try:
            route = route_headers(headers) or route_resource(to_dict(resource.resource.attributes), self._config)
        except Unroutable as error:
            return error
        experiment = "" if route.id is None else str(route.id)
        named = run.get(RUN_NAME, "")
        return pb.Destination(experiment_id=experiment, experiment_name=route.name, routed_by=route.routed_by, run_name=named)


def _in_json(text: bytes) -> str:
    """The signal that the first key of a JSON object names. Empty: none."""
    key = (found[1] or b"").decode().replace("_", "").lower() if (found := _JSON.match(text)) else ""
    return next((signal.name for signal in SIGNALS if signal.form.resources.replace("_", "") == key), "")


def _unparsed(decoded: Decoded, value: bytes, record: _Record) -> Iterator[Refusable]:
    """A dead letter with the whole of Kafka's record, if something in it cannot be parsed."""
    if lost := decoded.unparsed + decoded.notes.unread:
        COUNTERS[record.signal.name].rejected("malformed_span" if record.signal is TRACES else "malformed_record").inc(lost)
        why = decoded.notes.why or decoded.notes.where
        yield (
            _unread(value, record.written_unix_nano),
            f"{lost} of its records cannot be parsed ({why}); the others are written.",
        )


def _unread(value: bytes, written_unix_nano: int) -> bytes:
    return pb.Envelope(received_unix_nano=written_unix_nano, user_agent=_AGENT, request=value).SerializeToString()
