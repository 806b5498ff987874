"""Takes out log records that cannot join a span, counted by reason. No I/O.

A record of up to 1 KiB counts as one row, and each further KiB as one more; its resource and scope, which are stored with each
record that waits, count for each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace.config.logs import SEVERITIES, severity_of
from headrace.envelope.incoming import AnyRequest
from headrace.otlp.form import LOG_RECORDS
from headrace.processor.edit import drop_empty, has_empty
from headrace.processor.verdict import Verdict

_KIB = 1024
_CONTENT = "gen_ai."
"""What the names of events with GenAI content begin with."""
_EVENT_NAME = "event.name"
_EXCEPTION = "exception."


@dataclass(frozen=True, slots=True)
class ValidateLogs:
    """The processor of log records.

    `joins`: whether log records join spans at all. `least_severity`: the lowest number of a severity that is kept. `max_rows`:
    the most rows of one request.
    """

    joins: bool
    least_severity: int
    max_rows: int

    def process(self, request: AnyRequest, verdict: Verdict) -> AnyRequest:
        """See `Processor`."""
        reasons = self._reasons(request)
        if any(reasons) or has_empty(request.message, LOG_RECORDS):
            verdict.rejected.update(reason for reason in reasons if reason)
            _keep(request.for_change(), iter(reasons).__next__)
        return request

    def _reasons(self, request: AnyRequest) -> list[str]:
        """For each record in order: why it is taken out; empty if it stays."""
        reasons, rows = [], 0
        for resource in request.resources:
            for scope in resource.scope_logs:
                shared = resource.resource.ByteSize() + scope.scope.ByteSize()
                for record in scope.log_records:
                    if not (reason := self._reason(record)):
                        needed = 1 + (record.ByteSize() + shared) // _KIB
                        rows += needed
                        if rows > self.max_rows:
                            rows -= needed
                            reason = "too_many_rows"
                    reasons.append(reason)
        return reasons

    def _reason(self, record: Any) -> str:
        if not self.joins:
            return "not_joined"
        if not (len(record.trace_id) == 16 and any(record.trace_id) and len(record.span_id) == 8 and any(record.span_id)):
            return "no_span"
        return "below_severity" if self._is_mild(record) and not _always_kept(record) else ""

    def _is_mild(self, record: Any) -> bool:
        """Whether a record is too mild. What does not say how severe it is, is so only if everything is."""
        number = record.severity_number
        if number <= 0:
            number = severity_of(record.severity_text) if record.severity_text else 0
        return bool(number < self.least_severity and (number or self.least_severity == SEVERITIES["none"]))


def _always_kept(record: Any) -> bool:
    """Whether a record holds GenAI content or an exception, however mild it is."""
    if record.event_name.startswith(_CONTENT):
        return True
    for pair in record.attributes:
        if pair.key.startswith(_EXCEPTION) or (pair.key == _EVENT_NAME and pair.value.string_value.startswith(_CONTENT)):
            return True
    return False


def _keep(message: Any, reason: Callable[[], str]) -> None:
    """Takes out the records that have a reason, which are told in order."""
    for resource in message.resource_logs:
        for scope in resource.scope_logs:
            records = list(scope.log_records)
            kept = [record for record in records if not reason()]
            if len(kept) < len(records):
                copies = type(scope)(log_records=kept).log_records
                scope.ClearField("log_records")
                scope.log_records.MergeFrom(copies)
    drop_empty(message, LOG_RECORDS)
