"""What spans say of their trace, gathered span by span: as MLflow reads it, or for a root that decides. No I/O."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headrace.mlflow.json_text import plain
from headrace.mlflow.keys import COST, SPAN_INPUTS, SPAN_OUTPUTS, TOKEN_USAGE
from headrace.mlflow.model import NAMED, OF_ANOTHER, Node, NonRootValues, Precedence, Root, SpanRow, Voice, earliest
from headrace.mlflow.model.totals import CALL
from headrace.mlflow.model.voices import FAILS
from headrace.mlflow.text import UNCOUNTED, Repairs, storable, to_object
from headrace.mlflow.translate.borrowed import stated_model
from headrace.mlflow.translate.enrich import SCOPE, request_preview, response_preview
from headrace.mlflow.translate.prompts import MAX_PROMPTS, linked_prompts
from headrace.mlflow.translate.spans import Context, TranslatedSpan
from headrace.mlflow.translate.speaks import root_says
from headrace.mlflow.translate.tags import MAX_TRACE_NAME, SESSION_AND_USER_KEYS, root_tags, session_and_user

_ANSWER = "gen_ai.response.id"


@dataclass(slots=True)
class ArrivalValues:
    """As `_TraceAggregate` of MLflow's `_log_spans_once`: the first session, user and resource, the last root."""

    root_inputs: Any = None
    root_outputs: Any = None
    session_id: str | None = None
    user_id: str | None = None
    resource_tags: dict[str, str] | None = None
    trace_tags: dict[str, str] = field(default_factory=dict)
    trace_name: str | None = None

    def add(self, translated: TranslatedSpan, context: Context, max_tags: int) -> None:
        """Adds what one more span says."""
        _, row, attributes, plain, *_ = translated
        if self.resource_tags is None:
            self.resource_tags = context.tags
        if row.parent_span_id is None:  # as in MLflow the last root of a request, even where it has no inputs
            self._read_root({} if plain else attributes, context.repaired, max_tags)
        if not (plain and SESSION_AND_USER_KEYS.isdisjoint(attributes)):
            session, user = session_and_user(attributes, context.repaired)
            self.session_id = session if self.session_id is None else self.session_id
            self.user_id = user if self.user_id is None else self.user_id

    def add_superseded(self, translated: TranslatedSpan, context: Context) -> None:
        """Nothing: MLflow knows no such spans, and without enrichment there are none."""

    def _read_root(self, attributes: dict[str, Any], repaired: Repairs, max_tags: int) -> None:
        self.root_inputs = plain(attributes.get(SPAN_INPUTS))
        self.root_outputs = plain(attributes.get(SPAN_OUTPUTS))
        tags, trace_name = root_tags(attributes, repaired, max_tags)
        self.trace_tags |= tags
        self.trace_name = self.trace_name if trace_name is None else trace_name


@dataclass(slots=True)
class RootValues:
    """The roots of a part, by span id, and what its other spans say, whatever comes first."""

    roots: dict[str, Root] = field(default_factory=dict)
    others: NonRootValues = field(default_factory=NonRootValues)
    chosen_by_rule: bool = True
    """Whether a rule or the default chose the experiment for all of its spans, so that another's may take its place."""
    prompts: set[str] = field(default_factory=set)
    """What `linked_prompts` finds, of all spans."""
    failures: dict[str, int] = field(default_factory=dict)
    """Spans that are no roots and say why they failed, and when they ended."""
    _last_tags: dict[str, str] | None = None

    def add(self, translated: TranslatedSpan, context: Context, _max_tags: int) -> None:
        """Adds what one more span says."""
        self.chosen_by_rule &= context.chosen_by_rule
        span, row, attributes, plain, _, speaks, _ = translated
        if not plain and len(self.prompts) < MAX_PROMPTS:
            self.prompts.update(linked_prompts(attributes, context.repaired))
        if self.roots and (before := self.roots.pop(row.span_id, None)):  # it came twice
            self.add_root_to_others(before)
        if self.failures:
            self.failures.pop(row.span_id, None)
        if row.parent_span_id is None:
            self.roots[row.span_id] = to_root(span, attributes, context.tags, context.chosen_by_rule, context.repaired)
        else:
            self._add_to_others(translated, context)
            if speaks.startswith(FAILS):
                self.failures[row.span_id] = row.end_time_unix_nano

    def add_superseded(self, translated: TranslatedSpan, context: Context) -> None:
        """Adds what a copy without an end says, as if the whole span had come after it."""
        self.chosen_by_rule &= context.chosen_by_rule
        span, row, attributes, *_ = translated
        if len(self.prompts) < MAX_PROMPTS:
            self.prompts.update(linked_prompts(attributes, context.repaired))
        if row.parent_span_id is None:
            self.add_root_to_others(to_root(span, attributes, context.tags, context.chosen_by_rule, context.repaired))
        else:
            self._add_to_others(translated, context)

    def without(self, span_ids: Collection[str]) -> "RootValues":
        """These values, as if the roots among these spans had been superseded."""
        kept = RootValues(chosen_by_rule=self.chosen_by_rule, prompts=self.prompts)
        kept.others.add(self.others.tags, self.others.session_id, self.others.user_id)
        kept.failures = {span_id: end for span_id, end in self.failures.items() if span_id not in span_ids}
        for span_id, root in self.roots.items():
            if span_id in span_ids:
                kept.add_root_to_others(root)
            else:
                kept.roots[span_id] = root
        return kept

    def add_root_to_others(self, root: Root) -> None:
        """Adds what a root says that does not decide."""
        self.others.add(root.tags, root.session_id, root.user_id)

    def _add_to_others(self, translated: TranslatedSpan, context: Context) -> None:
        _, _, attributes, plain, *_ = translated
        if not (plain and SESSION_AND_USER_KEYS.isdisjoint(attributes)):
            self.others.add({}, *session_and_user(attributes, context.repaired, null=False))
        if self._last_tags is not context.tags:  # the same dict for all spans of a resource
            self._last_tags = context.tags
            self.others.add(context.tags or {}, None, None)

    def precedence(self, spans: Mapping[str, SpanRow]) -> Precedence:
        """The best that these spans have, which are those of the part."""
        if not self.chosen_by_rule:
            return NAMED
        if root := earliest(self.roots):
            return root.precedence
        return Precedence(OF_ANOTHER, *min((row.start_time_unix_nano, row.span_id) for row in spans.values()))


def to_root(
    span: Span, attributes: dict[str, Any], tags: dict[str, str] | None, chosen_by_rule: bool, repaired: Repairs = UNCOUNTED
) -> Root:
    """What a root says of its trace, `tags` being those of its resource."""
    session, user = session_and_user(attributes, repaired, null=False)
    own_tags, trace_name = root_tags(attributes, repaired)
    name = storable(span.name, UNCOUNTED)  # as its row, where that was counted
    return Root(
        start=span.start_time_unix_nano,
        span_id=span.span_id.hex(),
        status="ERROR" if span.status.code == span.status.STATUS_CODE_ERROR else "OK",
        inputs=plain(attributes.get(SPAN_INPUTS)),
        outputs=plain(attributes.get(SPAN_OUTPUTS)),
        name=name[:MAX_TRACE_NAME],
        request_preview=storable(request_preview(name, attributes), UNCOUNTED),
        response_preview=storable(response_preview(span, attributes), UNCOUNTED),
        trace_name=trace_name,
        session_id=session or None,
        user_id=user or None,
        tags=(tags or {}) | own_tags if own_tags else tags or {},
        chosen_by_rule=chosen_by_rule,
        says=root_says(span, attributes),
    )


def to_node(
    span_id: str, parent_id: str | None, attributes: Mapping[str, Any], voice: Voice | None = None, borrows: bool = False
) -> Node:
    """The span's own token usage and cost, and the model that it states.

    Figures that are none, on which MLflow loses the request, are left out. Where the span describes a
    call that a sibling of another instrumentation may describe as well, its figures are marked.
    """
    usage, cost = (
        {key: figure for key, figure in figures.items() if isinstance(figure, int | float)} if figures is not None else None
        for figures in (to_object(attributes.get(TOKEN_USAGE)), to_object(attributes.get(COST)))
    )
    if (usage or cost) and (call := _call(parent_id, attributes)):
        usage, cost = (figures | call if figures else figures for figures in (usage, cost))
    return Node(span_id, parent_id, usage, cost, voice, None if borrows else stated_model(attributes), borrows)


def _call(parent_id: str | None, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Which answer of a model the span describes, and by which instrumentation; nothing where it does not say so."""
    answer, scope = attributes.get(_ANSWER), attributes.get(SCOPE)
    if not answer or not scope:
        return {}
    digests = [blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest() for text in (f"{parent_id} {answer}", scope)]
    return {CALL: f"{CALL}{digests[0]}.{digests[1]}"}
