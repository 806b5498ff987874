"""Saves what can be parsed of a request in OTLP/JSON that is not wholly one. No I/O.

A broken record costs itself. A broken resource or scope costs its records: without it, nobody can tell where they belong.
"""

from typing import Any

from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from headrace.otlp.form import SPANS
from headrace.otlp.json_form import JsonForm, Names, split_points
from headrace.otlp.json_mistakes import BAD_JSON
from headrace.otlp.notes import Notes

_MAX_DEPTH = 100  # protobuf's own limit for nested messages on the wire, applied to JSON as well
_RESOURCE_DEPTH, _SCOPE_DEPTH, _ITEM_DEPTH = 1, 2, 3  # levels above it in its request


def parse(data: dict[str, Any], message: Any, depth: int = 0, *, strict: bool = False) -> Any:
    """A JSON object → the message, which is filled. Raises one of `BAD_JSON`.

    Unknown keys are ignored. `strict` refuses them, and with them what protobuf would read as a message without fields: a text
    where an object belongs, the unknown name of an enum.
    """
    return json_format.ParseDict(data, message, ignore_unknown_fields=not strict, max_recursion_depth=_MAX_DEPTH - depth)


def make_levels(data: dict[str, Any], names: JsonForm, notes: Notes) -> int:
    """Makes lists of the resources and scopes of a request, and lists of its items, in place. One object is a list of one.

    Returns how many of them are something else. They are taken out, and `notes` is told.
    """
    _, of_resource, of_scope = names.known
    lost = _make_list(data, names.resources, of_resource, notes)
    for resource in names.each_resource(data):
        for level in (names.scopes, *((old,) for old in names.old_scopes)):
            lost += _make_list(resource, level, of_scope, notes)
            for scope in resource.get(level[0]) or ():
                lost += _make_list(scope, names.items, None, notes)
    return lost


def _make_list(holder: dict[str, Any], keys: Names, known: frozenset[str] | None, notes: Notes) -> int:
    """Joins what stands under the names of one field. `known`: the keys of the objects there, of resources or scopes. What is
    no object is taken out of them; not out of items, which are looked at later."""
    found: list[Any] = []
    lost = 0
    for key in keys:
        value = holder.pop(key, None)
        if isinstance(value, dict) and (known is None or known & value.keys()):
            notes.repaired["json_value_read"] += 1
            value = [value]
        if not isinstance(value, list | None):
            notes.left_out(f"{key} is not a list")
            lost += 1
            continue
        for each in value or ():
            if known is None or isinstance(each, dict):
                found.append(each)
            elif each is not None:
                notes.left_out(f"{str(each)[:50]!r} is not an object")
                lost += 1
    if found:
        holder[keys[0]] = found
    return lost


def salvage_json(data: dict[str, Any], names: JsonForm, notes: Notes) -> tuple[Any, int]:
    """A JSON object → the request without what cannot be parsed, and the number of records that it lacks."""
    left_out = 0
    for scope in names.each_scope(data):
        kept = []
        for item in names.items_of(scope):
            lost = _drop_points(item, names, notes)
            left_out += lost
            if _can_be_parsed(item, names, notes):
                kept.append(item)
            else:
                left_out += not lost
        names.replace_items(scope, kept)
    try:
        return parse(data, names.form.request()), left_out
    except BAD_JSON:  # a resource or a scope, or what stands beside them
        left_out += _drop_holders(data, names, notes)
        return parse(data, names.form.request()), left_out


def _drop_holders(data: dict[str, Any], names: JsonForm, notes: Notes) -> int:
    """Takes out the scopes and resources that cannot be parsed, in place. Returns how many records they had."""
    before = names.count_records(data)
    request: Any = names.form.request
    resource_field = request.DESCRIPTOR.fields_by_name[names.form.resources]
    scope_field = resource_field.message_type.fields_by_name[names.form.scopes]
    key, inner, items = names.resources[0], names.scopes[0], names.items[0]
    for resource in data.get(key) or ():
        if scopes := resource.get(inner):
            resource[inner] = [
                each for each in scopes if _fits(each | {items: []}, scope_field.message_type, _SCOPE_DEPTH, notes)
            ]
    data[key] = [
        each for each in data.get(key) or () if _fits(each | {inner: []}, resource_field.message_type, _RESOURCE_DEPTH, notes)
    ]
    return before - names.count_records(data)


def _fits(holder: dict[str, Any], message: Any, depth: int, notes: Notes) -> bool:
    """Whether a resource or a scope without its records can be parsed."""
    try:
        parse(holder, GetMessageClass(message)(), depth)
    except BAD_JSON as error:
        notes.left_out(error)
        return False
    return True


def _drop_points(item: Any, names: JsonForm, notes: Notes) -> int:
    """Takes the data points that cannot be parsed out of a metric, in place. Returns how many."""
    if names.form is SPANS or not isinstance(item, dict):
        return 0
    left_out = 0
    for points, metric, data in split_points(item):
        kept = []
        for point in points:
            data["dataPoints"] = [point]
            if _can_be_parsed(metric, names, notes):
                kept.append(point)
        left_out += len(points) - len(kept)
        points[:] = kept
    return left_out


def _can_be_parsed(item: Any, names: JsonForm, notes: Notes) -> bool:
    """Whether this is the JSON of an item."""
    try:
        if not isinstance(item, dict):
            raise TypeError(f"a {names.form.noun} is not an object")
        parse(item, names.form.item(), _ITEM_DEPTH)
    except BAD_JSON as error:
        notes.left_out(error)
        return False
    return True
