"""`/openapi.json` is true: what exporters send fits its schemas, and the server answers as it says, whatever is sent."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from conftest import CloneDatabase, Running, launcher, wait_until
from fuzz.bodies import PROTOBUF, TARGETS, encode_json
from fuzz.messages import seeds
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

pytestmark = pytest.mark.slow("errors otlp receiver processor pipeline tests/fuzz")

EXAMPLES = {GenerationMode.POSITIVE: 80, GenerationMode.NEGATIVE: 12}
"""Requests to each of the OTLP paths: as the schemas have them, and otherwise (which take twenty times as long to make)."""

load_all_checks()
CHECKED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
"""Not the checks that would have unknown fields refused: receivers of OTLP have to ignore them."""


def protobuf_body(seed: int) -> bytes:
    """A mutated body of any of the three signals."""
    random = Random(seed)
    target = TARGETS["protobuf"]
    return target.mutate(random.choice(_protobuf_seeds()), random)[1:]


@lru_cache
def _protobuf_seeds() -> list[bytes]:
    return list(TARGETS["protobuf"].seeds())


schemathesis.openapi.media_type(PROTOBUF, st.integers(0, 2**32).map(protobuf_body))


@pytest.fixture(scope="module")
def running(clone_database: CloneDatabase) -> Iterator[Running]:
    with clone_database() as url, launcher() as launch:
        yield launch(database_url=url, default_experiment="Default")


@pytest.fixture(scope="module")
def document(running: Running) -> dict[str, Any]:
    return dict(httpx.get(f"{running.url}/openapi.json").json())


@pytest.fixture(scope="module")
def api(running: Running, document: dict[str, Any]) -> Any:
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=running.url)
    return schema


def test_what_exporters_send_fits_the_schema(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"}
    validator = jsonschema_rs.Draft202012Validator(document | reference)
    for request in seeds():
        validator.validate(json.loads(encode_json(request)))
    assert not validator.is_valid({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "no hex"}]}]}]})


def test_all_operations_are_there(document: dict[str, Any]) -> None:
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    gets = {("get", path) for path in ("/healthz", "/readyz", "/metrics")}
    assert operations == gets | {("post", path) for path in ("/v1/traces", "/v1/metrics", "/v1/logs")}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_answers_as_it_says(api: Any, path: str) -> None:
    assert api[path]["GET"].Case().call_and_validate(checks=CHECKED).status_code == 200


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
def test_the_server_answers_as_it_says(api: Any, path: str, mode: GenerationMode) -> None:
    answered: Counter[int] = Counter()

    @given(case=api[path]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES[mode],
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        answered[case.call_and_validate(checks=CHECKED, timeout=20).status_code] += 1

    send()
    print(path, mode.value, dict(answered))
    assert answered[400]
    assert answered[200] or mode is GenerationMode.NEGATIVE


def test_it_is_well_afterwards(running: Running) -> None:
    wait_until(running.drained)
    assert running.ready()["status"] == "ready"
