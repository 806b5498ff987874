"""Saves what can be parsed of a broken protobuf request: mends texts that are no UTF-8, makes text of what lies too deep,
leaves out what is no record. No I/O.

Protobuf's parser takes a request whole or not at all: one text that is no UTF-8 would cost a thousand records. So its resources
are first read as plain bytes, then one by one; in them the scopes; in these the records. Only what is broken is looked at
closely. A broken record costs itself. A broken resource or scope costs its records: nobody can tell where they belong.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from headrace.otlp.deep import Deep
from headrace.otlp.form import SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.parts import check_parts
from headrace.otlp.texts import mend_texts, texts_of
from headrace.otlp.wire import field_of

_RESOURCE, _SCOPE, _ITEM, _POINT = 1, 2, 3, 5
"""The number of messages above each."""
_NUMBERS = (1, 2, 2)
"""The numbers of the fields that lead to resources, to scopes and to items."""
_Read = TypeVar("_Read")


def salvage(body: bytes, notes: Notes, form: Form = SPANS) -> tuple[Any, int]:
    """A body → the request without what cannot be parsed, and the number of records that it lacks.

    Texts that are no UTF-8 have U+FFFD in the place of what is wrong; `notes` says how many places.

    Raises:
        DecodeError: nothing of it can be parsed. BodyTooLarge: the rest has too many parts.
    """
    salvaged = _Salvage(form, notes)
    rest = salvaged.request(body)
    check_parts(rest, form)  # it could not count the parts of the broken body
    request: Any = form.request.FromString(rest)
    if notes.why and not salvaged.left_out and not form.count(request):
        raise DecodeError(notes.why)
    return request, salvaged.left_out


class _Salvage:
    """Reads one request."""

    def __init__(self, form: Form, notes: Notes) -> None:
        self._form = form
        self._texts = texts_of(form)
        self._notes = notes
        self._deep = Deep(notes)
        self.left_out = 0
        """How many records cannot be parsed."""

    def request(self, body: bytes) -> bytes:
        """The bytes of a request → bytes that can be parsed. Raises DecodeError: it is cut on its first level."""
        request = self._texts.request.FromString(body)
        kept = [self._resource(data) for data in getattr(request, self._form.resources)]
        request.ClearField(self._form.resources)
        return bytes(request.SerializeToString()) + _fields(_RESOURCE, kept)

    def _resource(self, data: bytes) -> bytes | None:
        if (found := self._holder(data, self._texts.resource, self._form.scopes, _RESOURCE)) is None:
            return None
        bare, scopes = found
        return bare + _fields(_SCOPE, [self._scope(scope) for scope in scopes])

    def _scope(self, data: bytes) -> bytes | None:
        if (found := self._holder(data, self._texts.scope, self._form.items, _SCOPE)) is None:
            return None
        bare, items = found
        return bare + _fields(_ITEM, [self._item(item) for item in items])

    def _holder(self, data: bytes, kind: Any, field: str, depth: int) -> tuple[bytes, list[bytes]] | None:
        """The bytes of a resource or a scope → those of it without what it holds, which can be parsed; and what it holds."""
        try:
            return self._shallow(data, kind, depth, lambda data: self._opened(data, kind, field, depth))
        except DecodeError as error:
            self._notes.left_out(error)
            self.left_out += self._count(data, depth)
            return None

    def _opened(self, data: bytes, kind: Any, field: str, depth: int) -> tuple[bytes, list[bytes]]:
        holder, mended = kind.FromString(data), Notes()
        held = list(getattr(holder, field))
        holder.ClearField(field)
        mend_texts(holder, mended)
        bare: bytes = holder.SerializeToString()
        self._form.request.FromString(_within(bare, depth))
        self._notes.repaired += mended.repaired
        return bare, held

    def _count(self, data: bytes, depth: int) -> int:
        """How many records a broken resource or scope has; 1 if they cannot be counted."""
        try:
            return check_parts(_within(data, depth), self._form)
        except DecodeError:
            return 1

    def _item(self, data: bytes) -> bytes | None:
        """The bytes of an item → bytes that can be parsed; None if there are none."""
        try:
            self._check(data)
            return data
        except DecodeError:
            pass
        try:
            return self._shallow(data, self._texts.item, _ITEM, self._mended_item)
        except DecodeError as error:
            self._notes.left_out(error)
            self.left_out += 1
            return None

    def _shallow(self, data: bytes, kind: Any, depth: int, read: Callable[[bytes], _Read]) -> _Read:
        """What `read` makes of the bytes of such a message; if it refuses them, of the same without what lies too deep."""
        try:
            return read(data)
        except DecodeError:
            return read(self._deep.rewritten(data, kind.DESCRIPTOR, depth))

    def _mended_item(self, data: bytes) -> bytes:
        item, mended = self._texts.item.FromString(data), Notes()
        mend_texts(item, mended)
        kind = item.WhichOneof("data") if self._texts.points else None
        lost = self._keep_points(item, kind) if kind else 0
        data = item.SerializeToString()
        self._check(data)
        self._notes.repaired += mended.repaired
        self.left_out += lost
        return data

    def _keep_points(self, metric: Any, kind: str) -> int:
        """Takes the data points that cannot be parsed out of a metric, and returns how many. (Its own texts are mended.)"""
        points = getattr(metric, kind).data_points
        came = list(points)
        points[:] = kept = [point for data in came if (point := self._point(metric, kind, data)) is not None]
        return len(came) - len(kept)

    def _point(self, metric: Any, kind: str, data: bytes) -> bytes | None:
        """The bytes of a data point → bytes that can be parsed; None if there are none."""
        shell = type(metric)(name=b"shell")
        points = getattr(shell, kind).data_points
        points.append(data)
        try:
            self._check(shell.SerializeToString())
            return data
        except DecodeError:
            pass
        message = self._texts.points[kind]
        try:
            return self._shallow(data, message, _POINT, lambda data: self._mended_point(shell, points, data, message))
        except DecodeError as error:
            self._notes.left_out(error)
            return None

    def _mended_point(self, shell: Any, points: Any, data: bytes, kind: Any) -> bytes:
        """`shell`: a metric with this point alone. `points`: its list of points."""
        point, mended = kind.FromString(data), Notes()
        mend_texts(point, mended)
        points[0] = data = point.SerializeToString()
        self._check(shell.SerializeToString())
        self._notes.repaired += mended.repaired
        return data

    def _check(self, data: bytes) -> None:
        """Raises DecodeError unless these bytes are an item. It is parsed inside a request, because the levels above it count
        for the greatest depth."""
        alone = _within(data, _ITEM)
        check_parts(alone, self._form)
        self._form.request.FromString(alone)


def _within(data: bytes, depth: int) -> bytes:
    """A request that holds nothing but this resource, scope or item."""
    for number in reversed(_NUMBERS[:depth]):
        data = field_of(number, data)
    return data


def _fields(depth: int, values: Iterable[bytes | None]) -> bytes:
    """The fields that hold these resources, scopes or items, without those that are None."""
    return b"".join(field_of(_NUMBERS[depth - 1], value) for value in values if value is not None)
