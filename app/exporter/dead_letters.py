"""Spans that can never be written as they are → `headrace.dead_letter`, with their bytes and the reason."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import text

from app.database import Database
from app.exporter import Delivery
from app.exporter.retry import spans_of
from app.telemetry import SPANS_DEAD_LETTERED, log

_MAX_REASON = 2000

_INSERT = text(
    "INSERT INTO headrace.dead_letter (digest, received_at, reason, experiment_id, experiment_name, user_agent, trace_id,"
    " span_id, envelope) VALUES (:digest, :received_at, :reason, :experiment_id, :experiment_name, :user_agent, :trace_id,"
    " :span_id, :envelope) ON CONFLICT (digest) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One span (or one unreadable envelope, then `delivery` is None) and why it was given up."""

    envelope: bytes
    delivery: Delivery | None
    reason: str


def store(database: Database, letter: DeadLetter) -> None:
    """Writes the letter; the same one twice is one row.

    Raises:
        DatabaseUnavailable: try again later.
    """
    with database.begin() as connection:
        connection.execute(_INSERT, _row(letter))
    count = len(spans_of(letter.delivery.request)) if letter.delivery else 1
    SPANS_DEAD_LETTERED.inc(count)
    log.error("dead letter", reason=letter.reason[:500], spans=count)


def _row(letter: DeadLetter) -> dict[str, object]:
    row: dict[str, object] = {
        "digest": hashlib.sha256(letter.envelope).digest(),
        "received_at": datetime.now(timezone.utc),
        "reason": letter.reason.replace("\x00", "\ufffd")[:_MAX_REASON],
        "experiment_id": "",
        "experiment_name": "",
        "user_agent": "",
        "trace_id": None,
        "span_id": None,
        "envelope": letter.envelope,
    }
    if delivery := letter.delivery:
        destination = delivery.destinations[0]
        span = spans_of(delivery.request)[0]
        row |= {
            "received_at": datetime.fromtimestamp(delivery.received_unix_nano / 1e9, timezone.utc),
            "experiment_id": destination.experiment_id,
            "experiment_name": destination.experiment_name,
            "user_agent": delivery.user_agent.replace("\x00", "\ufffd"),
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
        }
    return row
