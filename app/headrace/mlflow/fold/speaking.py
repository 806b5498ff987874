"""A root that has no inputs or outputs: an agent below it speaks in its place, whatever came first. No I/O.

The topmost agents, chains and models below the root speak: the first that has inputs says what was asked, the last that has
outputs what was answered. Of a root that failed and says no word, a span below it says why. A root with words of its own, and a
trace in which nobody speaks, stay as they are.
"""

from collections.abc import Collection, Mapping
from typing import Any

from headrace.mlflow.fold.totals import preview_or
from headrace.mlflow.fold.trees import voices_of
from headrace.mlflow.keys import SPAN_INPUTS, SPAN_OUTPUTS
from headrace.mlflow.model import Root, Spoken, Trace, Voices
from headrace.mlflow.model.voices import ANSWERS, ASKS, MUTE, TRANSPORT
from headrace.mlflow.text import UNCOUNTED, storable, to_object
from headrace.mlflow.translate.enrich import failure_preview
from headrace.mlflow.translate.readback import to_span
from headrace.mlflow.translate.tags import MAX_TRACE_NAME

Failure = tuple[int, str]
NO_FAILURE: Failure = (0, "")
"""Somebody has looked: no span says why it failed."""


def known_failure(trace: Trace[Any], failures: Mapping[str, int], read: Failure | None) -> Failure | None:
    """The failed span that ended last. None: nobody has looked at the spans that are there already.

    `failures`: those of this batch, and when they ended. `read`: what was looked up.
    """
    before: Failure | None = NO_FAILURE
    if trace.stored is not None:
        before = read if read is not None else remembered_failure(trace)
    if before is None or not failures:
        return before
    last = min((-end, span_id) for span_id, end in failures.items())
    return min(last, before) if before[1] else last


def remembered_failure(trace: Trace[Any]) -> Failure | None:
    """The one that is remembered, unless it comes again, perhaps as something else."""
    failure = trace.stored.spoken.failure if trace.stored and trace.stored.spoken else None
    return None if failure is None or failure[1] in trace.spans else failure


def speakers(trace: Trace[Any], root: Root, failure: Failure | None, *, voices: bool) -> Spoken:
    """Who speaks for this root, of all spans. `voices`: some of this batch may."""
    if trace.finalized or (ASKS in root.says and ANSWERS in root.says):
        return Spoken(failure=failure)
    found = _voices(trace, voices=voices)
    failed = failure[1] if failure and MUTE in root.says else ""
    return Spoken(
        "" if ASKS in root.says else found.asking.best(),
        "" if ANSWERS in root.says or failed else found.answering.best(),
        failed,
        failure,
    )


def _voices(trace: Trace[Any], *, voices: bool) -> Voices:
    if trace.stored is not None and trace.totals is not None:
        return trace.totals.voices
    return voices_of(trace.nodes.values()) if voices or trace.stored is not None else Voices()


def wanted(trace: Trace[Any], spoken: Spoken, *, anew: bool) -> Collection[str]:
    """The spans whose words are not at hand. `anew`: another root decides than the one whose words stand there."""
    before = trace.stored.spoken if trace.stored else None
    if not anew and before is not None and before[:3] == spoken[:3]:
        return ()
    return {span_id for span_id in spoken[:3] if span_id and span_id not in trace.spans}


def speak(trace: Trace[Any], root: Root, spoken: Spoken, fetched: Mapping[str, str]) -> None:
    """Puts their words in the place of the root's. `fetched`: contents of spans that are there already."""
    if not any(spoken[:3]):
        return
    said = {span_id: _said(trace, span_id, fetched) for span_id in {*spoken[:3]} - {""}}
    asked, answered, failed = (said.get(span_id) for span_id in spoken[:3])
    if asked:
        value = asked["attributes"].get(SPAN_INPUTS)
        trace.request_preview = preview_or(value, "user", trace.request_preview or "") or None
    if answered:
        value = answered["attributes"].get(SPAN_OUTPUTS)
        trace.response_preview = preview_or(value, "assistant", trace.response_preview or "") or None
    if failed:
        trace.response_preview = storable(failure_preview(to_span(failed)), UNCOUNTED)
    speaker = asked if spoken.asked else answered
    if speaker and TRANSPORT in root.says:
        trace.trace_name = root.trace_name or storable(str(speaker["name"]), UNCOUNTED)[:MAX_TRACE_NAME]


def _said(trace: Trace[Any], span_id: str, fetched: Mapping[str, str]) -> dict[str, Any] | None:
    """The content of a span, parsed; None: it stands in the trace's row already."""
    row = trace.spans.get(span_id)
    content = row.content if row is not None else fetched.get(span_id)
    return to_object(content) if content else None
