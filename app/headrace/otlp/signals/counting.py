"""Counts the records of a body that is not stored, and makes the sentence that tells its sender so."""

from typing import Any

from google.protobuf.message import DecodeError, Message

from headrace.errors import MalformedBody
from headrace.otlp import weight
from headrace.otlp.parts import Parts, check_small
from headrace.otlp.signals.signal import Refused
from headrace.otlp.weight import Charge


def refused(signal: str, count: int, what: str) -> Refused:
    """A body of a signal that is not stored, with `count` records, which are called `what`."""
    if not count:
        return Refused(0, "")
    return Refused(
        count,
        f"Headrace stores traces, not {signal}: {count} {what} were not stored. Set OTEL_{signal.upper()}_EXPORTER=none in the "
        f"service, or point OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT elsewhere.",
    )


def count_protobuf(body: bytes, parts: Parts, request: type[Message], charge: Charge) -> int:
    """How many records a protobuf body holds, without parsing them.

    Raises:
        MalformedBody: it is no `request`. BodyTooLarge: it has too many parts. InFlightFull: `charge` raised it.
    """
    charge(weight.of_protobuf(body, check_small(body)))
    try:
        return sum(parts.count(body).values())
    except DecodeError as error:
        raise MalformedBody(f"The body is not a protobuf {request.DESCRIPTOR.name}: {error}.") from None


def objects(data: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    """All objects at the end of a path of lists in a JSON body. Raises MalformedBody where they are none."""
    found = [data]
    for key in path:
        found = [object_of(item) for parent in found for item in list_of(parent, key)]
    return found


def list_of(holder: dict[str, Any], key: str) -> list[Any]:
    """The list under a key. Empty if there is none."""
    value = holder.get(key) or []
    if not isinstance(value, list):
        raise MalformedBody(f"The body is not OTLP/JSON: {key} is no list.")
    return value


def object_of(value: Any) -> dict[str, Any]:
    """A JSON value that has to be an object, or null."""
    if value is not None and not isinstance(value, dict):
        raise MalformedBody("The body is not OTLP/JSON: an object is missing where one belongs.")
    return value or {}
