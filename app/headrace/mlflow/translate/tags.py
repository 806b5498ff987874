"""Trace tags out of resources and root spans, sessions and users: what MLflow reads off attributes for the trace. No I/O.

Source: mlflow/store/tracking/sqlalchemy_store.py, `_log_spans_once` (3.17).
"""

import json
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_TRACE_TAG_KEY_LENGTH, MAX_TRACE_TAG_VAL_LENGTH, _validate_tag_name
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceProto
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.resources import Resource

from headrace.mlflow.keys import ARTIFACT_LOCATION, PREFIX, SPANS_LOCATION, TAG_PREFIX, TRACE_NAME
from headrace.mlflow.reserved import FINISHED, RESERVED_TAGS
from headrace.mlflow.text import UNCOUNTED, Repairs, cut, storable, unquoted
from headrace.mlflow.translate.origin import MAX_CACHED_BYTES
from headrace.otlp.attributes import to_dict, to_python, to_text

KNOWN_SERVICE_NAMES = frozenset({"claude-code", "codex_cli_rs", "codex_vscode", "gemini-cli", "qwen-code"})
"""The services whose name MLflow's endpoint puts on their root spans (`_KNOWN_SERVICE_NAMES` there; a test compares)."""

_PLACES = (SPANS_LOCATION, ARTIFACT_LOCATION, FINISHED)

MAX_TAGS = 128
"""Of a trace, unless HEADRACE_MAX_TAGS_PER_TRACE says otherwise."""
_SERVICE = "service.name"

MAX_TRACE_NAME = 4096
MAX_SESSION = 250
MAX_USER = 8000
MAX_INDEXED = 500
"""Characters of a service's and an operation's name, which stand in keys. Longer ones are cut, in the index alone."""

SESSION_AND_USER_KEYS = frozenset({"session.id", "gen_ai.conversation.id", "user.id"})
"""What `session_and_user` reads."""


def known_service(resource_spans: ResourceSpans) -> str | None:
    """The name of the resource's service, if it is one of `KNOWN_SERVICE_NAMES`."""
    for pair in resource_spans.resource.attributes:
        if pair.key == "service.name":
            name = pair.value.string_value
            return name if name in KNOWN_SERVICE_NAMES else None
    return None


def indexed_service(resource: ResourceProto) -> str:
    """The name of the resource's service, as the index has it: as text, and cut. Empty: it has none."""
    name = ""
    for pair in resource.attributes:
        if pair.key == _SERVICE:  # the last one counts, as in `to_dict`
            name = pair.value.string_value or to_text(to_python(pair.value))
    return storable(name, UNCOUNTED)[:MAX_INDEXED]


def resource_tags(
    resource: ResourceProto, repaired: Repairs, most: int = MAX_TAGS, *, null: bool = True
) -> dict[str, str] | None:
    """The trace tags that a resource gives, or None where it has no attributes (then another resource's may serve).

    At the most `most`, the service's name and the first ones; the pipeline has told the client of the others. `null`: whether
    an attribute without a value becomes a tag with the text `null`, as in MLflow; else it becomes none.
    """
    if not resource.attributes:
        return None
    data = resource.SerializeToString(deterministic=True)
    cached = len(data) <= MAX_CACHED_BYTES
    tags, repairs = _tags_of(data, null) if cached else _tags_of.__wrapped__(data, null)
    for rule, count in repairs.items():
        repaired[rule] += count
    return tags if tags is None or len(tags) <= most else _first(tags, most)


def _first(tags: dict[str, str], most: int) -> dict[str, str]:
    """So many of them; that of the service comes first."""
    return dict(sorted(tags.items(), key=lambda tag: tag[0] != _SERVICE)[:most])


def bounded(tags: dict[str, str], stored: Collection[str], decided: Collection[str], most: int) -> dict[str, str]:
    """The tags to be written to a trace that has the `stored` ones already, so that it has at the most `most` in all.

    Those that are there are kept; of new ones those that the root has `decided` come first, then the service's, then by key.
    MLflow's own tags of a trace's place do not count.
    """
    new = [key for key in tags if key not in stored and key != SPANS_LOCATION]
    room = max(0, most - sum(1 for key in stored if key not in _PLACES))
    if len(new) <= room:
        return tags
    new.sort(key=lambda key: (key not in decided, key != _SERVICE, key))
    dropped = frozenset(new[room:])
    return {key: value for key, value in tags.items() if key not in dropped}


@lru_cache(maxsize=1024)
def _tags_of(resource: bytes, null: bool) -> tuple[dict[str, str] | None, Repairs]:
    """Cached by the resource's bytes: the same few come with every request. The SDK's `Resource` cleans the values."""
    repaired: Repairs = Counter()
    attributes = Resource(to_dict(ResourceProto.FromString(resource).attributes)).attributes
    if not attributes:
        return None, repaired
    tags = {}
    for key, value in attributes.items():
        if value is None and not null:
            continue
        if key in RESERVED_TAGS and not key.startswith(PREFIX):
            repaired["reserved_tag_dropped"] += 1
        elif not key.startswith(("telemetry.sdk.", PREFIX)) and is_tag_key(key):
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            tags[key] = storable(text[:MAX_TRACE_TAG_VAL_LENGTH], repaired)
    return tags, repaired


def root_tags(attributes: dict[str, Any], repaired: Repairs, most: int = MAX_TAGS) -> tuple[dict[str, str], str | None]:
    """The trace's tags (at the most `most`) and name that MLflow's SDK puts on the root span, as `mlflow.traceTag.*`."""
    tags: dict[str, str] = {}
    trace_name = None
    for key, value in attributes.items():
        if not key.startswith(TAG_PREFIX) or not is_tag_key(name := key[len(TAG_PREFIX) :]):
            continue
        if name in RESERVED_TAGS:
            repaired["reserved_tag_dropped"] += 1
            continue
        text = str(unquoted(value))[:MAX_TRACE_TAG_VAL_LENGTH]
        if name == TRACE_NAME:
            trace_name = cut(text, MAX_TRACE_NAME, "trace_name_cut", repaired)
        elif len(tags) < most or name in tags:
            tags[name] = storable(text, repaired)
    return tags, trace_name


def session_and_user(attributes: dict[str, Any], repaired: Repairs, *, null: bool = True) -> tuple[str | None, str | None]:
    """What a span's attributes say of its trace's session and user. `null`: see `resource_tags`."""
    session, conversation, user = (attributes.get(key) for key in ("session.id", "gen_ai.conversation.id", "user.id"))
    if not null:  # the JSON of a value that is not there
        session, conversation, user = (None if value == "null" else value for value in (session, conversation, user))
    session = session or conversation
    return (
        cut(unquoted(session), MAX_SESSION, "session_id_cut", repaired) if session else None,
        cut(unquoted(user), MAX_USER, "user_id_cut", repaired) if user else None,
    )


@lru_cache(maxsize=4096)
def is_tag_key(key: str) -> bool:
    try:
        _validate_tag_name(key)  # type: ignore[no-untyped-call]
    except MlflowException:
        return False
    return len(key) <= MAX_TRACE_TAG_KEY_LENGTH and "\0" not in key
