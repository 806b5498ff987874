"""Further keys of a span's note: how the stored attributes differ from those that were sent, and its log records. No I/O.

All keys of the note: `origin.py`.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from headrace.mlflow.json_text import dumps
from headrace.mlflow.keys import REQUEST_ID
from headrace.mlflow.logs.record import Kept, Packed, Rank, Record, packed, unpacked

_LOGS, _LOG_POSITIONS, _LOG_EVENTS, _LOG_CUT = "logs", "log_positions", "log_events", "log_cut"
_LOG_CUT_POSITION = "log_cut_position"
"""The records, a serialized `LogsData` in base64; their positions, if some are not 0; how many of the stored events they have
become; and, if there were too many, the rank of the first that is not kept. Its position stands by itself, if it is not 0:
earlier versions of Headrace know of none."""


@lru_cache(maxsize=1024)
def note_of_keys(added: tuple[str, ...], texts: tuple[str, ...] = ()) -> str:
    """Further keys of the note where no value was replaced."""
    named = {"added": added, "texts": texts}
    return "".join(f', "{name}": {dumps(keys)}' for name, keys in named.items() if keys)


def note_of(sent: dict[str, str], texts: dict[str, str], attributes: dict[str, Any]) -> str:
    """How the stored attributes differ from those that were sent: see `origin.py`. `texts`: their `inner_texts`."""
    added = [key for key in attributes if key not in sent and key != REQUEST_ID]
    replaced: dict[str, str] = {}
    if (request_id := sent.get(REQUEST_ID)) is not None:
        replaced[REQUEST_ID] = request_id
    unquoted_keys = []
    for key, value in sent.items():
        if (now := attributes.get(key)) is not value and now != value:
            if texts.get(key) == now:
                unquoted_keys.append(key)
            else:
                replaced[key] = value
    note = note_of_keys(tuple(added), tuple(unquoted_keys))
    return f'{note}, "sent": {dumps(replaced)}' if replaced else note


def note_of_logs(kept: Kept, events: int) -> str:
    """Further keys of the note for log records that are kept beside a span. `events`: how many events they have become."""
    cut = ""
    if kept.cut:
        kind, time, position, digest = kept.cut
        cut = f', "{_LOG_CUT}": {json.dumps([kind, time, digest])}'
        cut += f', "{_LOG_CUT_POSITION}": {position}' if position else ""
    data, positions = packed(kept.records)
    order = f', "{_LOG_POSITIONS}": {json.dumps(positions)}' if positions else ""
    return f', "{_LOGS}": "{b64encode(data).decode()}"{order}, "{_LOG_EVENTS}": {events}{cut}'


def logs_in(content: Mapping[str, Any]) -> bytes:
    """A span's content (parsed) → the log records that were joined with it, a serialized `LogsData`. Empty: none."""
    return b64decode((content.get("otlp") or {}).get(_LOGS, ""))


def records_in(content: Mapping[str, Any]) -> list[Record]:
    """A span's content (parsed) → the log records that were joined with it, in order."""
    data = logs_in(content)
    return unpacked(Packed(data, content["otlp"].get(_LOG_POSITIONS, ()))) if data else []


def log_events_in(content: Mapping[str, Any]) -> int:
    """A span's content (parsed) → how many of its events, the last ones, its log records have become."""
    return int((content.get("otlp") or {}).get(_LOG_EVENTS, 0))


def cut_of(content: Mapping[str, Any]) -> Rank | None:
    """A span's content (parsed) → `Kept.cut` of its log records."""
    note = content.get("otlp") or {}
    if not (cut := note.get(_LOG_CUT)):
        return None
    kind, time, digest = cut
    return Rank(kind, time, note.get(_LOG_CUT_POSITION, 0), digest)
