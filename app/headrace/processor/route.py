"""Which MLflow experiment a resource's spans want to go to. Pure; no I/O.

First that applies: header `x-mlflow-experiment-id` → header `x-mlflow-experiment-name` → resource attribute
`mlflow.experiment.id` → `mlflow.experiment.name` → first matching rule of `HEADRACE_ROUTES` → `HEADRACE_DEFAULT_EXPERIMENT`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from headrace.config import Config
from headrace.envelope import envelope_pb2 as pb
from headrace.envelope.incoming import said_once
from headrace.envelope.limit import MAX_ID, MAX_ID_DIGITS, is_id
from headrace.errors import Unroutable
from headrace.otlp.attributes import to_text

ID_HEADER = "x-mlflow-experiment-id"
NAME_HEADER = "x-mlflow-experiment-name"
WORKSPACE_HEADER = "x-mlflow-workspace"
_WORKSPACE = "default"
"""The one of MLflow's workspaces in which experiments are looked up and created."""

WAYS_TO_ROUTE = (
    f"Set the header {ID_HEADER} (or {NAME_HEADER}), e.g. "
    f"OTEL_EXPORTER_OTLP_TRACES_HEADERS={ID_HEADER}=<id>; or the resource attribute mlflow.experiment.id or "
    "mlflow.experiment.name; or, on the server, HEADRACE_ROUTES or HEADRACE_DEFAULT_EXPERIMENT."
)

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_MAX_NAME = 256  # experiments.name is a varchar(256)
_MAX_MATCHED = 4096  # characters; a glob takes some 20 ms for a megabyte, and there may be many


@dataclass(frozen=True, slots=True)
class Route:
    """An experiment as its client named it: by `id`, or by `name` if the id is None."""

    id: int | None
    name: str
    routed_by: pb.RoutedBy


def route_headers(headers: Mapping[str, str]) -> Route | None:
    """The route that the request's headers (lower-case keys) fix for all of its spans, if they do.

    Raises:
        Unroutable: the header is there, but names no possible experiment; or another header names a workspace that is not ours.
    """
    if (workspace := said_once(headers.get(WORKSPACE_HEADER, ""))) not in ("", _WORKSPACE):
        raise Unroutable(
            f"{WORKSPACE_HEADER.capitalize()}: {workspace[:80]!r} cannot be written to. Headrace writes to MLflow's workspace "
            f"{_WORKSPACE!r} only: leave the header out (MLFLOW_WORKSPACE unset)."
        )
    if value := said_once(headers.get(ID_HEADER, "")):
        return Route(_experiment_id(value, f"header {ID_HEADER}"), "", pb.ROUTED_BY_HEADER)
    if value := said_once(headers.get(NAME_HEADER, "")):
        return Route(None, _experiment_name(value), pb.ROUTED_BY_HEADER)
    return None


def route_resource(resource: Mapping[str, Any], config: Config) -> Route:
    """The route of one resource (its attributes), where no header decides.

    Raises:
        Unroutable: nothing applies; the message says what to set.
    """
    if value := to_text(resource.get("mlflow.experiment.id")):
        return Route(_experiment_id(value, "resource attribute mlflow.experiment.id"), "", pb.ROUTED_BY_RESOURCE)
    if value := to_text(resource.get("mlflow.experiment.name")):
        return Route(None, _experiment_name(value), pb.ROUTED_BY_RESOURCE)
    for rule in config.routes:
        if all(key in resource and _matches(resource[key], glob) for key, glob in rule.match.items()):
            return Route(None, _fill(rule.experiment, resource), pb.ROUTED_BY_RULE)
    if config.default_experiment:
        return Route(None, _fill(config.default_experiment, resource), pb.ROUTED_BY_DEFAULT)
    raise Unroutable(f"The request names no MLflow experiment. {WAYS_TO_ROUTE}")


def _matches(value: Any, glob: str) -> bool:
    """Whether an attribute's value matches the glob. A value that is too long for a name never does."""
    written = to_text(value)
    return len(written) <= _MAX_MATCHED and fnmatchcase(written, glob)


def _fill(template: str, resource: Mapping[str, Any]) -> str:
    """`{service.name}` → the resource's value."""

    def value(match: re.Match[str]) -> str:
        text = to_text(resource.get(match[1]))
        if not text:
            raise Unroutable(f"The resource has no attribute {match[1]!r}, which the route {template!r} needs. {WAYS_TO_ROUTE}")
        return text

    return _experiment_name(_PLACEHOLDER.sub(value, template))


def _experiment_id(value: str, where: str) -> int:
    if not is_id(value) or len(value) > MAX_ID_DIGITS or int(value) > MAX_ID:
        raise Unroutable(f"{where.capitalize()}: {value[:80]!r} is no experiment id (a whole number). {WAYS_TO_ROUTE}")
    return int(value)


def _experiment_name(value: str) -> str:
    if len(value) > _MAX_NAME or "\x00" in value:
        raise Unroutable(f"Experiment name {value[:80]!r}… cannot be stored: at most {_MAX_NAME} characters, no NUL.")
    return value
