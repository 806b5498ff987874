"""Saves what can be parsed of a broken protobuf request: mends texts that are no UTF-8, leaves out what is no record. No I/O.

Protobuf's parser takes a request whole or not at all: one text that is no UTF-8 would cost a thousand records. So the records
are first read as plain bytes, and then one by one. Only what is broken is looked at closely.
"""

from typing import Any

from google.protobuf.message import DecodeError

from headrace.otlp.form import SPANS, Form
from headrace.otlp.notes import Notes
from headrace.otlp.parts import check_parts
from headrace.otlp.texts import mend_texts, texts_of


def salvage(body: bytes, notes: Notes, form: Form = SPANS) -> tuple[Any, int]:
    """A body → the request without the records that cannot be parsed, and their number.

    Texts that are no UTF-8 have U+FFFD in the place of what is wrong; `notes` says how many places.

    Raises:
        DecodeError: something else than records is broken, too. BodyTooLarge: the rest has too many parts.
    """
    request = texts_of(form).request.FromString(body)
    salvaged = _Salvage(form, notes)
    for resource in form.resources_of(request):
        for scope in getattr(resource, form.scopes):
            kept = [item for data in getattr(scope, form.items) if (item := salvaged.item(data)) is not None]
            scope.ClearField(form.items)
            getattr(scope, form.items).extend(kept)
    rest = request.SerializeToString()
    check_parts(rest, form)  # it could not count the parts of the broken body
    try:
        return form.request.FromString(rest), salvaged.left_out
    except DecodeError:  # a text of a resource or a scope
        mend_texts(request, notes)
        return form.request.FromString(request.SerializeToString()), salvaged.left_out


class _Salvage:
    """Reads the items of one request: spans, log records or metrics."""

    def __init__(self, form: Form, notes: Notes) -> None:
        self._form = form
        self._texts = texts_of(form)
        self._notes = notes
        self.left_out = 0
        """How many records cannot be parsed."""

    def item(self, data: bytes) -> bytes | None:
        """The bytes of an item → bytes that can be parsed; None if there are none."""
        try:
            self._check(data)
            return data
        except DecodeError:
            pass
        try:
            item = self._texts.item.FromString(data)
            mended = Notes()
            mend_texts(item, mended)
            if kind := self._texts.points and item.WhichOneof("data"):
                self._keep_points(item, kind)
            data = item.SerializeToString()
            self._check(data)
        except DecodeError as error:
            self._notes.left_out(error)
            self.left_out += 1
            return None
        self._notes.repaired += mended.repaired
        return data

    def _keep_points(self, metric: Any, kind: str) -> None:
        """Takes the data points that cannot be parsed out of a metric. (Its own texts are mended.)"""
        points = getattr(metric, kind).data_points
        came = list(points)
        kept = [point for data in came if (point := self._point(metric, kind, data)) is not None]
        points[:] = kept
        self.left_out += len(came) - len(kept)

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
        try:
            point = self._texts.points[kind].FromString(data)
            mended = Notes()
            mend_texts(point, mended)
            points[0] = data = point.SerializeToString()
            self._check(shell.SerializeToString())
        except DecodeError as error:
            self._notes.left_out(error)
            return None
        self._notes.repaired += mended.repaired
        return data

    def _check(self, data: bytes) -> None:
        """Raises DecodeError unless these bytes are an item. It is parsed inside a request, because the levels above it count
        for the greatest depth."""
        request = self._texts.request()
        resource = getattr(request, self._form.resources).add()
        getattr(getattr(resource, self._form.scopes).add(), self._form.items).append(data)
        alone = request.SerializeToString()
        check_parts(alone, self._form)
        self._form.request.FromString(alone)
