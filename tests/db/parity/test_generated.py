"""Properties, over requests that Hypothesis makes up: what MLflow would have written, Headrace writes; and with enrichment
nothing is lost, and no order matters.

The examples are the same in every run. HEADRACE_EXAMPLES=2000 tries as many new ones; `--hypothesis-show-statistics` tells
of what kind they were.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest
from conftest import rows
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData
from parity.compare import Difference, diff, explain, snapshot
from parity.databases import MLFLOW_SETTINGS, seed
from parity.generated import exchanges, shared_out
from parity.in_process import Send, mlflow_in_process
from parity.scenario import DEFAULT_EXPERIMENT, EXPERIMENT_HEADER, RUN, RUN_HEADER, SECOND_EXPERIMENT, Exchange
from parity.sent import Sent, by_span

from headrace.envelope import Delivery
from headrace.envelope import envelope_pb2 as pb
from headrace.mlflow.translate.readback import digests, to_traces_data
from headrace.mlflow.write.bulk import BulkWriter
from headrace.otlp.spans import spans_of
from headrace.store.database import Database
from otlp import validate

EXAMPLES = int(os.environ.get("HEADRACE_EXAMPLES", "0"))
SEEDED = ("experiments", "runs")
"""Tables whose rows were made before, at different times."""

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900 + 3 * EXAMPLES)]


def examples(number: int) -> settings:
    """So many; the databases are emptied for each, so that a fixture serves them all."""
    return settings(
        max_examples=EXAMPLES or number,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


class Side:
    """A database, and Headrace's writer on it."""

    def __init__(self, url: str, enrich: bool) -> None:
        self.url = url
        self.database = Database(url)
        self._writer = BulkWriter(self.database, enrich)

    def write(self, deliveries: Sequence[Delivery]) -> None:
        """As one batch."""
        self._writer.write(self._writer.translate(deliveries))

    def empty(self) -> None:
        """Deletes all traces."""
        with psycopg.connect(self.url) as connection:
            connection.execute("TRUNCATE trace_info, entity_associations, sql_trace_rollup_rebuild_queue CASCADE")
            connection.execute("TRUNCATE headrace.movable_trace")

    def spans(self) -> set[tuple[str, str]]:
        """The ids of all spans."""
        return {(row["trace_id"], row["span_id"]) for row in rows(self.url, "SELECT trace_id, span_id FROM spans")}

    def read_back(self) -> Sent:
        """The OTLP that `readback` makes of the rows."""
        contents = [row["content"] for row in rows(self.url, "SELECT content FROM spans")]
        query = "SELECT digest, origin FROM headrace.origin WHERE digest = ANY (%s)"
        origins = {row["digest"]: row["origin"] for row in rows(self.url, query, list(digests(contents)))}
        return by_span(to_traces_data(contents, origins))


@pytest.fixture
def sides(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[Side, Side]]:
    """Two of them, alike; the parameter says whether they enrich."""
    for name, value in MLFLOW_SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # MLflow and the SDK warn of each odd value
    urls = [new_database(), new_database()]
    for url in urls:
        seed(url)
    found = Side(urls[0], request.param), Side(urls[1], request.param)
    yield found
    for side in found:
        side.database.close()


@pytest.fixture
def send(sides: tuple[Side, Side]) -> Iterator[Send]:
    """MLflow's own endpoint, on the first side's database."""
    with mlflow_in_process(sides[0].url) as send:
        yield send


def compare(left: Side, right: Side, *but: str) -> list[Difference]:
    """What differs between them, but for these tables."""
    found = diff(snapshot(left.url), snapshot(right.url))
    return [difference for difference in found if difference.table not in (*SEEDED, *but)]


def ids_of(spans: Sequence[Span]) -> set[tuple[str, str]]:
    """As the tables have them."""
    return {(f"tr-{span.trace_id.hex()}", span.span_id.hex()) for span in spans}


def checked(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
    """A copy that went through validation."""
    copy = ExportTraceServiceRequest.FromString(request.SerializeToString())
    validate(copy)
    return copy


def delivery_of(exchange: Exchange) -> Delivery:
    """What the worker would hand to the writer."""
    request = checked(exchange.request)
    destination = pb.Destination(experiment_id=exchange.headers[EXPERIMENT_HEADER], routed_by=pb.ROUTED_BY_HEADER)
    return Delivery(request, (destination,) * len(request.resource_spans), exchange.headers.get(RUN_HEADER, ""), 0, "")


@pytest.mark.parametrize("sides", [False], indirect=True, ids=["without enrichment"])
@examples(20)
@given(sent=exchanges(), at_once=st.booleans())
def test_headrace_leaves_the_rows_that_mlflow_leaves(
    sides: tuple[Side, Side], send: Send, sent: list[Exchange], at_once: bool
) -> None:
    theirs, ours = sides
    for side in sides:
        side.empty()
    taken = [exchange for exchange in sent if send(exchange).status_code == 200]  # the others leave nothing there
    refused = [exchange for exchange in sent if exchange not in taken]
    event(f"MLflow refuses {len(refused)} of {len(sent)} requests")
    deliveries = [delivery_of(exchange) for exchange in taken]
    for batch in [deliveries] if at_once else [[delivery] for delivery in deliveries]:
        ours.write(batch)
    differences = compare(theirs, ours)
    assert not differences, explain(differences, {})
    ours.write([delivery_of(exchange) for exchange in refused])
    assert ours.spans() == ids_of([span for exchange in sent for span in exchange.spans])


@st.composite
def routed(draw: st.DrawFn) -> list[Delivery]:
    """Requests whose resources a rule sends to two experiments by turns, but for some whose client named a third."""
    found = []
    for request in map(checked, draw(shared_out())):
        named = draw(st.sampled_from([False, False, False, True]))
        destinations = tuple(
            pb.Destination(experiment_id=NAMED, routed_by=pb.ROUTED_BY_HEADER)
            if named
            else pb.Destination(experiment_id=draw(st.sampled_from(RULES)), routed_by=pb.ROUTED_BY_RULE)
            for _ in request.resource_spans
        )
        found.append(Delivery(request, destinations, draw(st.sampled_from(["", RUN])), 0, ""))
    return found


RULES = (DEFAULT_EXPERIMENT, SECOND_EXPERIMENT)
NAMED = "2"


@pytest.mark.parametrize("sides", [True], indirect=True, ids=["with enrichment"])
@examples(30)
@given(data=st.data(), sent=routed())
def test_with_enrichment_nothing_is_lost_and_no_order_matters(
    sides: tuple[Side, Side], data: st.DataObject, sent: list[Delivery]
) -> None:
    for side in sides:
        side.empty()
    sent = sent + data.draw(st.lists(st.sampled_from(sent), max_size=2))  # some come again
    for delivery in sent:
        sides[0].write([delivery])
    mixed, batch = data.draw(st.permutations(sent)), list[Delivery]()
    for delivery in mixed:
        batch.append(delivery)
        if data.draw(st.booleans()):
            sides[1].write(batch)
            batch = []
    sides[1].write(batch)
    roots = sum(not span.parent_span_id for delivery in sent for span in spans_of(delivery.request))
    event(f"{len(sent)} requests, {roots} roots")
    # A trace that is moved marks the days of its sums in both experiments, one that need not be moved in one.
    differences = compare(*sides, "sql_trace_rollup_rebuild_queue")
    assert not differences, explain(differences, {})
    everything = TracesData(resource_spans=[part for delivery in sent for part in delivery.request.resource_spans])
    assert sides[0].read_back() == by_span(everything)
