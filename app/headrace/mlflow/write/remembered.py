"""What a fold policy wants to be remembered of traces, in the tables of schema `headrace`."""

import json
from collections.abc import Mapping, Sequence

from headrace.mlflow.model import Precedence, Root, Trace
from headrace.mlflow.reserved import FINISHED
from headrace.mlflow.write.statements import STATEMENTS, Rows


def keep_roots(cursor: Rows, traces: Sequence[Trace]) -> None:
    """Remembers what the roots have said that decide, of traces that were there before: a trace that comes whole costs nothing.

    Each time that such a trace is written, as what is remembered counts only where nobody else has written the trace since.
    """
    found = [(trace.trace_id, trace.verdict.root) for trace in traces if trace.stored and trace.verdict]
    if found:
        columns = {
            "trace_id": [trace_id for trace_id, _ in found],
            "root_id": [root.span_id if root else None for _, root in found],
            "said": [_dumped(root) if root else "" for _, root in found],
        }
        cursor.execute(STATEMENTS["remember_roots"], columns)


def _dumped(root: Root) -> str:
    return json.dumps([root.start, root.session_id, root.user_id, root.tags, root.chosen_by_rule])


def recalled(root_id: str | None, said: str) -> Mapping[str, Root]:
    """A row of `headrace.remembered_trace` → the root that has decided, by its span id. Empty: no root had come."""
    if root_id is None:
        return {}
    start, session_id, user_id, tags, chosen_by_rule = json.loads(said)
    return {root_id: Root.that_decided(start, root_id, session_id, user_id, tags, chosen_by_rule)}


def keep_precedences(cursor: Rows, traces: Sequence[Trace]) -> None:
    """Remembers by which precedence traces stand in their experiment, so that a better one moves them."""
    told: list[str] = []
    found: list[tuple[str, Precedence]] = []
    for trace in traces:
        before = trace.stored.precedence if trace.stored else None
        if trace.verdict is None or trace.verdict.precedence == before:
            continue
        if trace.verdict.precedence is None:
            told.append(trace.trace_id)
        else:
            found.append((trace.trace_id, trace.verdict.precedence))
    if told:
        cursor.execute(STATEMENTS["remove_precedences"], {"ids": told})
    if found:
        columns = {
            "trace_id": [trace_id for trace_id, _ in found],
            "rank": [precedence.rank for _, precedence in found],
            "start": [precedence.start for _, precedence in found],
            "span_id": [precedence.span_id for _, precedence in found],
        }
        cursor.execute(STATEMENTS["keep_precedences"], columns)
        cursor.execute(STATEMENTS["forget_old_precedences"], {"limit": 2 * len(found)})


def keep_unfinished(cursor: Rows, traces: Sequence[Trace], note: bool) -> None:
    """Notes (with `note`) the traces whose root has not come, for `finish.py`; takes back what that did where it has come."""
    rootless = [trace.trace_id for trace in traces if trace.verdict and not trace.verdict.root and not trace.finalized]
    if note and rootless:
        cursor.execute(STATEMENTS["note_unfinished"], {"ids": rootless})
    rooted = [trace for trace in traces if trace.verdict and trace.verdict.root and trace.stored]
    if come := [trace.trace_id for trace in rooted if trace.stored and trace.stored.noted_unfinished]:
        cursor.execute(STATEMENTS["forget_unfinished"], {"ids": come})
    if late := [trace.trace_id for trace in rooted if FINISHED in trace.stored_tags]:
        cursor.execute(STATEMENTS["remove_tag"], {"ids": late, "key": FINISHED})
