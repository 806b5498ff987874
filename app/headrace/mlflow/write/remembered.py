"""What a fold policy wants to be remembered of traces, in the tables of schema `headrace`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.mlflow.model import Precedence, Root, Spoken, Totals, Trace, Verdict
from headrace.mlflow.reserved import FINISHED
from headrace.mlflow.write.statements import STATEMENTS, Rows, array


def keep_traces(cursor: Rows, traces: Sequence[Trace]) -> None:
    """Remembers what the roots have said that decide, and the totals, of traces that were there before: a trace that comes
    whole costs nothing.

    Each time that such a trace is written, as what is remembered counts only where nobody else has written the trace since.
    """
    found = [(trace, trace.verdict.root) for trace in traces if trace.stored and trace.verdict]
    if found:
        columns = {
            "trace_id": array([trace.trace_id for trace, _ in found]),
            "root_id": array([root.span_id if root else None for _, root in found]),
            "said": [_dumped(trace.verdict, trace) for trace, _ in found if trace.verdict],
        }
        cursor.execute(STATEMENTS["remember_traces"], columns)


def _dumped(verdict: Verdict, trace: Trace) -> str:
    root, totals = verdict.root, trace.totals
    said = [root.start, root.session_id, root.user_id, root.tags, root.chosen_by_rule, root.says] if root else None
    return json.dumps([said, totals.dumped() if totals else None, verdict.spoken, sorted(trace.lenders)])


class Recalled(NamedTuple):
    """What a row of `headrace.remembered_trace` says."""

    roots: Mapping[str, Root]
    """The root that has decided, by its span id. Empty: none had come."""
    totals: Totals | None
    """None: no span had figures or words, or figures that cannot be added."""
    spoken: Spoken
    lenders: frozenset[str]


def recalled(root_id: str | None, text: str) -> Recalled | None:
    """A row of `headrace.remembered_trace`. None: a Headrace wrote it that knew less; nothing is remembered."""
    found = json.loads(text)
    if len(found) != len(Recalled._fields):
        return None
    said, totals, (asked, answered, failed, failure), lenders = found
    roots = {} if root_id is None else {root_id: _root(root_id, said)}
    spoken = Spoken(asked, answered, failed, None if failure is None else (failure[0], failure[1]))
    return Recalled(roots, Totals.loaded(totals) if totals else None, spoken, frozenset(lenders))


def _root(span_id: str, said: Sequence[Any]) -> Root:
    """What `_dumped` has written of the root that decided."""
    start, session_id, user_id, tags, chosen_by_rule, says = said
    return Root.that_decided(
        start=start,
        span_id=span_id,
        session_id=session_id,
        user_id=user_id,
        tags=tags,
        chosen_by_rule=chosen_by_rule,
        says=says,
    )


def keep_precedences(cursor: Rows, traces: Sequence[Trace]) -> None:
    """Remembers by which precedence traces stand in their experiment, so that a better one moves them."""
    told: list[str] = []
    found: list[tuple[str, Precedence]] = []
    new = 0
    for trace in traces:
        before = trace.stored.precedence if trace.stored else None
        if trace.verdict is None or trace.verdict.precedence == before:
            continue
        if trace.verdict.precedence is None:
            told.append(trace.trace_id)
        else:
            found.append((trace.trace_id, trace.verdict.precedence))
            new += before is None
    if told:
        cursor.execute(STATEMENTS["remove_precedences"], {"ids": told})
    if found:
        cursor.execute(STATEMENTS["keep_precedences"], _columns(found))
    if new:
        cursor.execute(STATEMENTS["forget_old_precedences"], {"limit": 2 * new})


def _columns(found: Sequence[tuple[str, Precedence]]) -> dict[str, Sequence[Any]]:
    return {
        "trace_id": [trace_id for trace_id, _ in found],
        "rank": [precedence.rank for _, precedence in found],
        "start": [precedence.start for _, precedence in found],
        "span_id": [precedence.span_id for _, precedence in found],
    }


def keep_unfinished(cursor: Rows, traces: Sequence[Trace], note: bool) -> None:
    """Notes (with `note`) the traces whose root has not come, for `finish.py`; takes back what that did where it has come."""
    rootless = [
        trace.trace_id
        for trace in traces
        if trace.verdict
        and not trace.verdict.root
        and not trace.finalized
        and not (trace.stored and trace.stored.noted_just_now)
    ]
    if note and rootless:
        cursor.execute(STATEMENTS["note_unfinished"], {"ids": rootless})
    rooted = [trace for trace in traces if trace.verdict and trace.verdict.root and trace.stored]
    if come := [trace.trace_id for trace in rooted if trace.stored and trace.stored.noted_unfinished]:
        cursor.execute(STATEMENTS["forget_unfinished"], {"ids": come})
    if late := [trace.trace_id for trace in rooted if FINISHED in trace.stored_tags]:
        cursor.execute(STATEMENTS["remove_tag"], {"ids": late, "key": FINISHED})
