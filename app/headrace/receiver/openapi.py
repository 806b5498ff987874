"""`/openapi.json`: adds the OTLP paths to those that FastAPI knows. Their schemas are made from the protobuf messages. No I/O.

Source: OTLP specification, "JSON Protobuf Encoding"
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#json-protobuf-encoding).
"""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from headrace.config import Config
from headrace.envelope.incoming import RUN_HEADER
from headrace.otlp.codec import Encoding
from headrace.otlp.compression import SUPPORTED
from headrace.otlp.signals import SIGNALS, Signal
from headrace.processor.route import ID_HEADER, NAME_HEADER, WORKSPACE_HEADER

_CODINGS = "(gzip|x-gzip|deflate|zstd|identity)"
_HEADERS = {
    ID_HEADER: ("The id of the MLflow experiment for all spans of the request.", r"^\s*[0-9]*\s*$"),
    NAME_HEADER: (
        "The experiment's name, instead of its id. It is created if it does not exist and HEADRACE_CREATE_EXPERIMENTS is true.",
        "^.{0,256}$",
    ),
    WORKSPACE_HEADER: ("Headrace writes to MLflow's workspace `default` only.", r"^\s*(default)?\s*$"),
    RUN_HEADER: ("The id of an MLflow run that the traces are linked to.", None),
    "content-encoding": (
        f"How the body is compressed: {SUPPORTED}, or up to three of them.",
        f"^({_CODINGS}(, ?{_CODINGS}){{0,2}})?$",
    ),
}
_ANSWERS = {
    200: "Stored durably. If some records were not stored, `partialSuccess` says which and why.",
    400: "The body is malformed, none of its spans can be stored, or nothing says which experiment is meant. Do not send it "
    "again.",
    401: "Headrace asks for API keys, and the request has no valid one.",
    403: "The API key may not write to this experiment, or a web page sends it that may not, or the Host is not one of ours.",
    404: "There is nothing at this path.",
    405: "The method is not POST.",
    408: "The body was not complete in time.",
    411: "The request has neither Content-Length nor chunks.",
    413: "The body is too large, as received or inflated.",
    415: "The Content-Type or Content-Encoding is not supported.",
    429: "A limit a second or a minute is exceeded. Send it again after `retry-after` seconds.",
    503: "It cannot be stored now. Send it again after `retry-after` seconds.",
}
_ANSWER_HEADERS = {
    401: {"www-authenticate": {"type": "string"}},
    405: {"allow": {"type": "string"}},
    415: {"accept-encoding": {"type": "string"}},
    429: {"retry-after": {"type": "integer"}},
    503: {"retry-after": {"type": "integer"}},
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_HEX_IDS = ("trace_id", "span_id", "parent_span_id")


def describe_otlp(app: FastAPI, config: Config) -> None:
    """Adds the OTLP paths to the application's `/openapi.json`."""

    @cache
    def document() -> dict[str, Any]:
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _correct_health(described["paths"])
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        for signal in SIGNALS:
            path: dict[str, Any] = {"post": _operation(signal, config, schemas)}
            if config.path_prefix:
                path["servers"] = [{"url": "/"}, {"url": config.path_prefix}]
            described["paths"][f"/v1/{signal.name}"] = path
        if config.api_keys is not None:
            described["components"]["securitySchemes"] = _SECURITY
        return described

    app.openapi = document  # type: ignore[method-assign] # FastAPI's own way to extend it


def _correct_health(paths: dict[str, Any]) -> None:
    """Corrects what FastAPI assumes of each route: that it answers JSON, and only 200."""
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    ready = paths["/readyz"]["get"]["responses"]
    ready["503"] = ready["200"] | {"description": "Requests cannot be accepted now; `reason` says why."}


def _operation(signal: Signal, config: Config, schemas: dict[str, Any]) -> dict[str, Any]:
    """The description of `POST /v1/<signal>`. Adds the messages that it mentions to `schemas`."""
    operation: dict[str, Any] = {
        "summary": signal.summary,
        "operationId": f"export_{signal.name}",
        "parameters": [_parameter(name) for name in _HEADERS],
        "requestBody": {"required": True, "content": _content(signal.request, schemas)},
        "responses": {
            str(code): {
                "description": description,
                "content": _content(signal.response if code == 200 else Status, schemas),
                "headers": {name: {"schema": schema} for name, schema in _ANSWER_HEADERS.get(code, {}).items()},
            }
            for code, description in _ANSWERS.items()
        },
    }
    if config.api_keys is not None:
        operation["security"] = [{name: []} for name in _SECURITY]
    return operation


def _parameter(name: str) -> dict[str, Any]:
    description, pattern = _HEADERS[name]
    schema = {"type": "string"} | ({"pattern": pattern} if pattern else {})
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _content(message: type[Message], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a message in both encodings."""
    name = message.DESCRIPTOR.full_name
    binary = {"type": "string", "format": "binary", "description": f"A serialized {name}."}
    return {
        Encoding.PROTOBUF.value: {"schema": binary},
        Encoding.JSON.value: {"schema": _reference(message.DESCRIPTOR, schemas)},
    }


def _reference(message: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to a message's schema. Makes the schema when it is first asked for. Unknown fields are allowed everywhere."""
    if message.full_name == "google.protobuf.Any":
        return {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]}
    if message.full_name not in schemas:
        properties: dict[str, Any] = {}
        schemas[message.full_name] = {"type": "object", "properties": properties}  # before its fields: they may lead back
        properties |= {field.json_name: _field(field, schemas) for field in message.fields}
    return {"$ref": f"#/components/schemas/{message.full_name}"}


def _field(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = _reference(field.message_type, schemas) if field.message_type else _scalar(field)
    return {"type": "array", "items": schema} if field.is_repeated else schema


def _scalar(field: FieldDescriptor) -> dict[str, Any]:
    """The schema of a value in OTLP/JSON: ids in hex, enums as numbers, 64-bit integers as numbers or decimal texts."""
    if field.enum_type:
        names = ", ".join(f"{value.number}: {value.name}" for value in field.enum_type.values)
        return {"type": "integer", "format": "int32", "description": names}
    if field.type == FieldDescriptor.TYPE_BYTES:
        if field.name in _HEX_IDS:
            return {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"}
        return {"type": "string", "contentEncoding": "base64"}
    return _SCALARS[field.cpp_type]


_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.CPPTYPE_INT64: {
        "type": ["string", "integer"],
        "pattern": "^-?[0-9]{1,19}$",
        "minimum": -(2**63),
        "maximum": 2**63 - 1,
    },
    FieldDescriptor.CPPTYPE_UINT64: {
        "type": ["string", "integer"],
        "pattern": "^[0-9]{1,20}$",
        "minimum": 0,
        "maximum": 2**64 - 1,
    },
    FieldDescriptor.CPPTYPE_FLOAT: {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
    FieldDescriptor.CPPTYPE_DOUBLE: {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
}
