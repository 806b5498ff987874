"""A search: first which traces could be it, the newest first; then, page by page, whether a span of them has what is asked for.

So a search that finds enough soon reads little, and one that finds nothing ends at a limit: traces, bytes, or time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.config.reading import Reading
from headrace.mlflow.keys import MLFLOW_SERVICE, SERVICE
from headrace.reader import Found, Query, SearchResult
from headrace.reader.connections import Rows
from headrace.reader.matching import has_attributes, texts_of, wanted_attributes, wanted_error
from headrace.reader.spans import StoredSpan, empty, parse
from headrace.reader.statements import MORE_OF_EXPERIMENTS, MORE_OF_SERVICE, OF_BOTH, OF_EXPERIMENTS, OF_SERVICE, matching

PREFIX = "tr-"
"""What MLflow puts before OTLP's trace id."""
_MAX_NAME = 500
"""Characters of a service's name in the index: see `mlflow/write/index.py`."""
END_OF_TIME = 2**63 - 1_000_000
_MS_NS = 1_000_000
_MAX_LIMIT = 1000
_PAGE, _MAX_PAGE = 50, 400
"""Traces that are looked at in one statement: few at first, then twice as many each time."""
_FEW = 100
"""Traces that a search asks for at first. Most searches find enough among them; 2,000 take twenty times as long to list."""
_WALKED = 10
"""Of a service's traces, and of an experiment's, so many times those that a search looks at are asked whether they are of the
other."""
_ANY_TRACE = bytes(16)


def is_otlp_id(trace_id: str) -> bool:
    """Whether it is OTLP's id of a trace, in hex. MLflow's oldest traces have others."""
    return len(trace_id) == 32 and all(character in "0123456789abcdef" for character in trace_id)


def storable(text: str) -> str:
    """A text as Postgres can hold it, and as the writer has stored it."""
    return text.replace("\0", "\ufffd")


def service_name(name: str) -> str:
    """A service's name as the index has it."""
    return storable(name)[:_MAX_NAME]


class _Candidate(NamedTuple):
    """A trace that could be it, as the statements `OF_…` name its columns."""

    request_id: str
    experiment_id: int
    trace_name: str | None
    timestamp_ms: int
    execution_time_ms: int | None
    status: str
    start_ns: int
    """When the first span of the service that is asked for began. 0: none is."""


def find(cursor: Rows, query: Query, config: Reading) -> SearchResult:
    """Searches. `complete` is False if a limit ended the search before it had found `query.limit` traces."""
    limit = min(max(1, query.limit), _MAX_LIMIT)
    pages = _Pages(cursor, query, config)
    found: list[Found] = []
    few, most = min(_FEW, config.search_max_traces), config.search_max_traces
    candidates, whole = _candidates(cursor, query, few)
    looked_at = 0
    while looked_at < len(candidates):
        if pages.exhausted:
            return SearchResult(found, complete=False)
        listed = candidates[looked_at : looked_at + min(max(_PAGE, looked_at), _MAX_PAGE)]
        page = [candidate for candidate in listed if is_otlp_id(candidate.request_id.removeprefix(PREFIX))]
        matching_ids = pages.matching([candidate.request_id for candidate in page])
        found += [_found(candidate) for candidate in page if candidate.request_id in matching_ids]
        if len(found) >= limit:
            return SearchResult(found[:limit], complete=True)
        looked_at += len(listed)
        if looked_at == few < most:
            known = set(candidates)  # others may have come before them since
            listed, whole = _candidates(cursor, query, most)
            candidates += [candidate for candidate in listed if candidate not in known]
    return SearchResult(found, complete=whole and not pages.exhausted)


def _candidates(cursor: Rows, query: Query, most: int) -> tuple[list[_Candidate], bool]:
    """The newest traces that could be it, so many at most; and whether there are no more."""
    parameters = {
        "service": service_name(query.service),
        "since": min(max(0, query.since), END_OF_TIME),
        "until": min(max(0, query.until), END_OF_TIME) or END_OF_TIME,
        "experiments": None if query.experiments is None else sorted(query.experiments),
        "most": most,
        "walked": _WALKED * most,
    }
    found = _listed(cursor, OF_SERVICE if query.service else OF_EXPERIMENTS, parameters)
    if not query.service or len(found) >= most:
        return found, len(found) < most
    if not _asks(cursor, MORE_OF_SERVICE, parameters):
        return found, True
    if query.experiments is None:
        return found, False
    found = sorted({*found, *_listed(cursor, OF_BOTH, parameters)}, key=lambda each: (-each.start_ns, each.request_id))[:most]
    return found, len(found) < most and not _asks(cursor, MORE_OF_EXPERIMENTS, parameters)


def _listed(cursor: Rows, statement: str, parameters: Mapping[str, Any]) -> list[_Candidate]:
    cursor.execute(statement, parameters)
    return [_Candidate(*row) for row in cursor]


def _asks(cursor: Rows, statement: str, parameters: Mapping[str, Any]) -> bool:
    cursor.execute(statement, parameters)
    return cursor.fetchone() == (True,)


class _Pages:
    """Looks at pages of traces, until bytes or time run out."""

    def __init__(self, cursor: Rows, query: Query, config: Reading) -> None:
        self._cursor = cursor
        self._attributes = wanted_attributes(query)
        texts = texts_of(self._attributes)
        self._statement = matching(bool(query.service), len(texts) if self._attributes else None)
        self._parameters = _parameters(query)
        for number, each in enumerate(texts):
            self._parameters |= {f"{name}{number}": text for name, text in each.items()}
        self._bytes_left = config.read_max_bytes
        self._deadline = time.monotonic() + config.read_seconds

    @property
    def exhausted(self) -> bool:
        """Whether it may look at nothing more."""
        return self._bytes_left <= 0 or time.monotonic() > self._deadline

    def matching(self, request_ids: Sequence[str]) -> set[str]:
        """Those of these traces that have such a span."""
        return set(self._rows(request_ids))

    def _rows(self, request_ids: Sequence[str]) -> Iterator[str]:
        for request_id, content, origin in self._cursor.stream(self._statement, {**self._parameters, "ids": list(request_ids)}):
            if content is None or self._has(content, origin):
                yield request_id
            self._bytes_left -= len(content or "") + len(origin or b"")
            if self._bytes_left <= 0:
                return

    def _has(self, content: str, origin: bytes | None) -> bool:
        span, _ = parse(_ANY_TRACE, StoredSpan(content, "", None, None, "", 0, 0))
        return has_attributes(self._attributes, span, empty(bytes(origin or b"")))


def _parameters(query: Query) -> dict[str, Any]:
    return {
        "service": service_name(query.service),
        "service_key": SERVICE,
        "no_service": MLFLOW_SERVICE,
        "operation": storable(query.operation),
        "min": min(max(0, query.min_duration), END_OF_TIME),
        "max": min(max(0, query.max_duration), END_OF_TIME),
        "error": wanted_error(query),
    }


def _found(candidate: _Candidate) -> Found:
    return Found(
        candidate.request_id.removeprefix(PREFIX),
        candidate.experiment_id,
        candidate.trace_name or "",
        candidate.timestamp_ms * _MS_NS,
        (candidate.execution_time_ms or 0) * _MS_NS,
        candidate.status == "ERROR",
    )
