"""Takes out records that are larger than a record of Kafka's topic may be. Only where the queue is in Kafka. No I/O."""

from headrace.envelope.incoming import AnyRequest
from headrace.otlp.form import Place
from headrace.processor.verdict import Verdict

_BESIDE = 4096
"""Bytes of Kafka's record beside OTLP's, its resource and its scope: headers, and what the envelope says of the sender."""


class RecordSize:
    """Every record that it lets pass fits into one of Kafka's alone, with its resource and its scope."""

    def __init__(self, max_record: int) -> None:
        self._most = max_record - _BESIDE

    def process(self, request: AnyRequest, verdict: Verdict) -> AnyRequest:
        """See `Processor`. A request that fits as a whole is not looked at."""
        whole = len(request.original) if request.original is not None else request.message.ByteSize()
        if whole <= self._most:
            return request
        form = request.signal.form
        places = form.places(request.message)
        kept = [place for place in places if self._fits(request, place)]
        if len(kept) < len(places):
            verdict.reject("too_large_record", len(places) - len(kept))
            message = request.for_change()
            message.CopyFrom(form.gather(message, kept)[0])
        return request

    def _fits(self, request: AnyRequest, place: Place) -> bool:
        """Whether a record fits, with what stands beside it."""
        form = request.signal.form
        resource = request.resources[place.resource]
        scope = getattr(resource, form.scopes)[place.scope]
        beside = resource.resource.ByteSize() + scope.scope.ByteSize()
        beside += 4 * (len(resource.schema_url) + len(scope.schema_url))  # UTF-8
        if form.item is not type(place.record):  # a data point: its metric's name, unit and description stand beside it
            metric = getattr(scope, form.items)[place.item]
            beside += 4 * (len(metric.name) + len(metric.unit) + len(metric.description))
        return bool(beside + place.record.ByteSize() <= self._most)
