"""What every signal's requests have in common: a broken record costs one record, whichever signal it is of; requests are split
and joined without loss; old queues hold traces."""

import json
from typing import Any

import pytest
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlp
from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.split import halves, set_apart
from headrace.otlp import parts
from headrace.otlp.codec import Encoding, decode
from headrace.otlp.form import Form
from headrace.otlp.json_encoding import encode_json
from headrace.otlp.json_form import json_form
from headrace.otlp.notes import Notes
from headrace.otlp.signals import SIGNALS, TRACES, Signal
from headrace.rejected import RejectedRecord
from unit.otlp.test_signals import SAMPLES

every_signal = pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)


def names(form: Form, message: Any) -> list[str]:
    """What the samples call their records."""
    items = [item for resource in form.resources_of(message) for item in form.items_of(resource)]
    return [item.body.string_value if hasattr(item, "body") else item.name for item in items]


@every_signal
def test_a_broken_record_costs_one_record(signal: Signal) -> None:
    sent = SAMPLES[signal.name](5)
    body = sent.SerializeToString().replace(b"\x08record 2", b"\x7frecord 2")  # a text that goes beyond the end
    notes = Notes()
    found, left_out = decode(body, Encoding.PROTOBUF, notes=notes, form=signal.form)
    assert left_out == 1
    assert notes.why
    assert names(signal.form, found) == ["record 0", "record 1", "record 3", "record 4"]


@every_signal
def test_a_broken_record_costs_one_record_in_json(signal: Signal) -> None:
    data = encode_json(SAMPLES[signal.name](5), signal.form)
    items = list(json_form(signal.form).each_item(data))
    items[2]["metadata" if signal.name == "metrics" else "attributes"] = 7
    found, left_out = decode(json.dumps(data).encode(), Encoding.JSON, form=signal.form)
    assert left_out == 1
    assert names(signal.form, found) == ["record 0", "record 1", "record 3", "record 4"]


def metric_of_points(kind: str) -> Message:
    """A metric of three points; the second has an attribute with the value `second`."""
    fields: dict[str, Any] = {kind: {"dataPoints": [{"attributes": [{"key": "k", "value": {"stringValue": "first"}}]}]}}
    for text in ("second", "third"):
        fields[kind]["dataPoints"].append({"attributes": [{"key": "k", "value": {"stringValue": text}}]})
    data = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m"} | fields]}]}]}
    found, left_out = decode(json.dumps(data).encode(), Encoding.JSON, form=SIGNALS[1].form)
    assert left_out == 0
    return found  # type: ignore[no-any-return]


KINDS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_data_point_costs_one_data_point(kind: str) -> None:
    form = SIGNALS[1].form
    body = metric_of_points(kind).SerializeToString()
    cut = body.replace(b"\x06second", b"\x7fsecond")
    found, left_out = decode(cut, Encoding.PROTOBUF, form=form)
    assert (left_out, form.count(found)) == (1, 2)
    mended, left_out = decode(body.replace(b"second", b"sec\xffnd"), Encoding.PROTOBUF, form=form)
    assert (left_out, form.count(mended)) == (0, 3)
    assert "sec\ufffdnd".encode() in mended.SerializeToString()


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_data_point_costs_one_data_point_in_json(kind: str) -> None:
    form = SIGNALS[1].form
    data = encode_json(metric_of_points(kind), form)
    (metric,) = json_form(form).each_item(data)
    metric[kind]["dataPoints"][1]["attributes"] = 5
    found, left_out = decode(json.dumps(data).encode(), Encoding.JSON, form=form)
    assert (left_out, form.count(found)) == (1, 2)


@every_signal
def test_an_old_name_of_the_scopes_is_read(signal: Signal) -> None:
    sent: Any = SAMPLES[signal.name](2)
    data = encode_json(sent, signal.form)
    form = json_form(signal.form)
    for resource in form.each_resource(data):
        resource[form.old_scopes[0]] = resource.pop(form.scopes[0])
    notes = Notes()
    found, _ = decode(json.dumps(data).encode(), Encoding.JSON, notes=notes, form=signal.form)
    assert found == sent
    assert notes.repaired["old_name_read"] == 2
    resource = signal.form.resources_of(sent)[0].SerializeToString()
    scope = getattr(signal.form.resources_of(sent)[0], signal.form.scopes)[0].SerializeToString()
    rest = resource[: resource.index(scope) - 2]
    inner = rest + b"\xc2\x3e" + _VarintBytes(len(scope)) + scope  # field 1000
    body = b"\x0a" + _VarintBytes(len(inner)) + inner
    notes = Notes()
    assert decode(body, Encoding.PROTOBUF, notes=notes, form=signal.form)[0] == sent
    assert notes.repaired["old_name_read"] == 2


@every_signal
def test_json_says_what_the_message_says(signal: Signal) -> None:
    sent: Any = SAMPLES[signal.name](3)
    for item in (item for resource in signal.form.resources_of(sent) for item in signal.form.items_of(resource)):
        if signal.name == "logs":
            item.trace_id, item.span_id = b"t" * 16, b"s" * 8
        elif signal.name == "metrics" and item.WhichOneof("data") == "gauge":
            item.gauge.data_points[0].exemplars.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    data = encode_json(sent, signal.form)
    if signal is not TRACES:
        assert (b"t" * 16).hex() in json.dumps(data)
    assert decode(json.dumps(data).encode(), Encoding.JSON, form=signal.form) == (sent, 0)


def delivery(signal: Signal, message: Any) -> Delivery[Any]:
    destinations = tuple(pb.Destination(experiment_id="0") for _ in signal.form.resources_of(message))
    return Delivery(message, destinations, "", 0, "", signal=signal)


@every_signal
def test_halves_hold_all_records_once_and_in_order(signal: Signal) -> None:
    message: Any = SAMPLES[signal.name](7)
    second: Any = SAMPLES[signal.name](3)
    signal.form.resources_of(second)[0].schema_url = "second"
    message.MergeFrom(second)
    whole = delivery(signal, message)
    waiting, single = [whole], []
    while waiting:
        first = waiting.pop(0)
        if split := halves(first):
            waiting = [*split, *waiting]
        else:
            single.append(first)
    assert len(single) == 10
    assert [name for each in single for name in names(signal.form, each.request)] == names(signal.form, message)
    assert [signal.form.resources_of(each.request)[0].schema_url for each in single] == [""] * 7 + ["second"] * 3
    assert all(Delivery.from_envelope(each.to_envelope()) == each for each in single)


@pytest.mark.parametrize("kind", KINDS)
def test_a_metric_that_is_split_keeps_what_it_says(kind: str) -> None:
    signal = SIGNALS[1]
    message: Any = metric_of_points(kind)
    metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.unit, metric.description = "By", "says"
    if kind in ("sum", "histogram", "exponentialHistogram"):
        getattr(metric, metric.WhichOneof("data")).aggregation_temporality = 2
    if kind == "sum":
        metric.sum.is_monotonic = True
    for half in halves(delivery(signal, message)) or ():
        (found,) = half.request.resource_metrics[0].scope_metrics[0].metrics
        points = getattr(found, found.WhichOneof("data")).data_points
        assert 1 <= len(points) <= 2
        points.extend(getattr(metric, metric.WhichOneof("data")).data_points[: 3 - len(points)])
        assert found.ByteSize() == metric.ByteSize() or len(points) == 3


@every_signal
def test_records_rejected_by_number_share_a_delivery_for_each_reason(signal: Signal) -> None:
    whole = delivery(signal, SAMPLES[signal.name](5))
    rejected = [RejectedRecord(number, reason, 0) for number, reason in ((1, "a"), (3, "b"), (4, "a"))]
    alone, rest = set_apart(whole, ["0"], rejected)
    assert [(names(signal.form, each.request), reason) for each, reason in alone] == [
        (["record 1", "record 4"], "a"),
        (["record 3"], "b"),
    ]
    assert names(signal.form, rest.request) == ["record 0", "record 2"]


def test_an_envelope_without_a_signal_holds_traces() -> None:
    sent = otlp.request(otlp.span())
    old = pb.Envelope(destinations=[pb.Destination(experiment_id="0")], request=sent.SerializeToString()).SerializeToString()
    found = Delivery.from_envelope(old)
    assert found.signal is TRACES
    assert isinstance(found.request, ExportTraceServiceRequest)
    assert delivery(TRACES, sent).to_envelope() == old


def test_an_envelope_of_a_newer_headrace_is_told() -> None:
    newer = pb.Envelope(signal=9).SerializeToString()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="signal 9, which this version of Headrace does not know"):
        Delivery.from_envelope(newer)


@every_signal
def test_records_are_counted_before_a_body_is_parsed(signal: Signal, monkeypatch: pytest.MonkeyPatch) -> None:
    body = SAMPLES[signal.name](12).SerializeToString()
    assert parts.check_parts(body, signal.form) == 12
    monkeypatch.setattr(parts, "_LARGE_BYTES", 0)
    assert parts.check_parts(body, signal.form) == 12
