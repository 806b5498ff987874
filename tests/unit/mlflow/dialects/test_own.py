"""A dialect of one's own, as docs/frameworks.md describes it; what is wrong in a file is said with its line."""

import re
from pathlib import Path

import pytest
from frameworks import Shown, shown, spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlp
from headrace.errors import StartError
from headrace.mlflow.translate.dialects import known
from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.dialects.forms import FORMS
from headrace.mlflow.translate.dialects.read import read, read_file, shipped
from headrace.mlflow.translate.dialects.table import TARGETS
from headrace.mlflow.translate.explain import MLFLOW, explain

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "frameworks.md"


def of_scope(span: Span, scope: str, table: str) -> Shown:
    """The span of a scope of this name as MLflow shows it, read by a table."""
    request = otlp.request(span)
    request.resource_spans[0].scope_spans[0].scope.name = scope
    (found,) = spans(request, Dialects(read(table, "own.yaml")))
    return found


def recipe() -> str:
    """The table that the documentation gives as its example."""
    section = PAGE.read_text().partition("## A dialect of your own")[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_recipe_of_the_documentation_works() -> None:
    assert len(recipe().splitlines()) <= 10
    dialects = Dialects((*read(recipe(), "acme.yaml"), *shipped()))
    span = shown(
        {
            "acme.kind": "llm",
            "acme.question": "What is the weather in Paris?",
            "acme.answer": '{"text": "Sunny."}',
            "acme.model": "gpt-4o-mini",
            "acme.tokens": '{"in": 42, "out": 17}',
            "acme.conversation": "c-1",
            "acme.customer": 4711,
        },
        dialects,
    )
    assert (span.type, span.model) == ("CHAT_MODEL", "gpt-4o-mini")
    assert (span.inputs, span.outputs) == ("What is the weather in Paris?", "Sunny.")
    assert span.usage == {"input_tokens": 42, "output_tokens": 17, "total_tokens": 59}
    assert span.cost["total_cost"] > 0
    assert (span.attributes["session.id"], span.attributes["user.id"]) == ("c-1", "4711")


def test_tools_are_read_in_each_way_that_a_table_can_say() -> None:
    """From an attribute, the name of the span, a path, and JSON that says nothing; the same twice."""
    rules = "[{from: acme.tools, where: {acme.kind: a}}, {from: $name, where: {acme.kind: b}}, 'acme.call > tools']"
    dialects = Dialects(read(f"acme: {{when: acme.kind, tools: {rules}}}", "acme.yaml"))
    one = [{"type": "function", "function": {"name": "f"}}]
    for _ in range(2):
        assert shown({"acme.kind": "a", "acme.tools": '[{"name": "f"}]'}, dialects).attributes["mlflow.chat.tools"] == one
        assert shown({"acme.kind": "a", "acme.tools": "f"}, dialects).attributes["mlflow.chat.tools"] == one
        assert shown({"acme.kind": "b"}, dialects).attributes["mlflow.chat.tools"][0]["type"] == "function"
        told = {"acme.kind": "c", "acme.call": '{"tools": ["f"]}', "acme.tools": "[{broken"}
        assert shown(told, dialects).attributes["mlflow.chat.tools"] == one


def test_a_dialect_of_the_same_name_takes_the_place_of_the_shipped_one() -> None:
    own = read("haystack: {type: {from: haystack.component.type, is: TASK}}", "own.yaml")
    names = {dialect.name for dialect in own}
    mine = Dialects((*own, *(dialect for dialect in shipped() if dialect.name not in names)))
    assert shown({"haystack.component.type": "OpenAIChatGenerator", "haystack.component.input": "{}"}, mine).type == "TASK"
    assert shown({"haystack.component.type": "OpenAIChatGenerator"}).type == "CHAT_MODEL"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "own.yaml: there is no dialect in it."),
        ("acme:\n  inputs: [a\n", "own.yaml:3: this is no YAML"),
        ("- acme", "own.yaml:1: a dialect's name and its table belongs here"),
        ("acme: 5", "own.yaml:1: what a dialect says belongs here"),
        ("acme:\n  about: nothing\n", "own.yaml:2: `acme` has no rule."),
        ("acme:\n  inputs: a\n  inputs: b\n", "own.yaml:3: `inputs` stands here for the second time."),
        ("acme:\n  input: a\n", "own.yaml:2: `input` of `acme` is unknown. It may be about, source, when, scope, type, inputs"),
        ("acme:\n  inputs:\n    - {form: json}\n", "own.yaml:3: a rule needs `from`"),
        ("acme:\n  inputs:\n    - {from: a, shape: json}\n", "own.yaml:3: `shape` is no part of a rule."),
        ("acme:\n  inputs:\n    - {from: a, form: xml}\n", "own.yaml:3: there is no form `xml`. There are answered, arg"),
        ("acme:\n  model: a.*\n", "own.yaml:2: `a.*`: only input_messages"),
        ("acme:\n  model: 'a > '\n", "own.yaml:2: `a > ` should be `attribute > path.in.its.json`."),
        ("acme:\n  type: a\n", "own.yaml:2: a rule of `type` needs `map` or `is`"),
        ("acme:\n  type: {from: a, map: {x: MODEL}}\n", "own.yaml:2: `MODEL` is no type of MLflow's. There are AGENT, CHAIN"),
        ("acme:\n  tags: a\n", "own.yaml:2: `tag` names the tag"),
        ("acme:\n  model: {from: a, replaces: perhaps}\n", "own.yaml:2: `replaces` is true or false, not `perhaps`."),
        ("acme:\n  model: $name\n", "own.yaml:2: `acme` reads $name, so it needs `when` or `scope`"),
        ("acme:\n  model: [[a]]\n", "own.yaml:2: the key of an attribute belongs here, as a text."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(StartError) as raised:
        read(text, "own.yaml")
    assert str(raised.value).startswith(said)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(StartError, match=r"HEADRACE_DIALECTS: /nowhere/own.yaml cannot be read"):
        read_file(Path("/nowhere/own.yaml"))
    with pytest.raises(StartError, match="cannot be read"):
        known(ROOT)  # a folder


def test_the_page_says_what_a_table_may_say() -> None:
    page = PAGE.read_text()
    assert not [name for name in (*TARGETS, *FORMS) if f"`{name}`" not in page]
    assert not [dialect.name for dialect in shipped() if f"`{dialect.name}`" not in page]


def test_each_shipped_dialect_says_where_it_is_described() -> None:
    for dialect in shipped():
        assert dialect.about, dialect.name
    assert len({dialect.name for dialect in shipped()}) == len(shipped())


def test_explain_names_the_rule() -> None:
    span = otlp.span(
        "chat",
        attrs={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "operation.cost": 0.5, "user.id": "u",
               "gen_ai.usage.input_tokens": 3.0, "langfuse.session.id": "s"},
    )  # fmt: skip
    said = {attribute: by for attribute, _, by in explain(span, "", known())}
    assert said["mlflow.spanType"] == MLFLOW
    assert said["user.id"] == "the client"
    assert said["session.id"] == "langfuse: langfuse.session.id"
    assert said["mlflow.chat.tokenUsage"] == "genai: gen_ai.usage.input_tokens"
    assert said["mlflow.llm.cost"].endswith("operation.cost")


@pytest.mark.parametrize("told", ["scope: acme.tracer", "when: {$scope: 'acme.*'}"])
def test_a_span_without_an_attribute_is_told_by_its_scope(told: str) -> None:
    table = f"acme:\n  {told}\n  type: {{from: $name, map: {{invocation: AGENT}}}}\n"
    assert of_scope(otlp.span("invocation"), "acme.tracer", table).type == "AGENT"
    assert of_scope(otlp.span("invocation"), "other", table).type is None
    assert of_scope(otlp.span("work"), "acme.tracer", table).type is None


def test_what_stands_in_a_span_s_events_is_read() -> None:
    text = """acme:
  when: {$scope: acme}
  inputs: $event.asked.messages
  outputs: {from: $event.answered.answer > text, where: {$scope: acme}}
  input_tokens: $event.answered.usage.prompt
"""
    span = otlp.span("work")
    for name, attrs in (
        ("asked", {"messages": '[{"role": "user", "content": "Hello"}]'}),
        ("answered", {"answer": '{"text": "Good day"}', "usage.prompt": 3}),
        ("answered", {"answer": '{"text": "too late"}'}),
    ):
        span.events.add(name=name, attributes=otlp.span("", attrs=attrs).attributes)
    found = of_scope(span, "acme", text)
    assert found.inputs == [{"role": "user", "content": "Hello"}]
    assert found.outputs == "Good day"
    assert found.usage["input_tokens"] == 3
    assert of_scope(span, "other", text).inputs is None


@pytest.mark.parametrize(
    ("form", "value", "meant"),
    [
        ("split", "get_weather, get_time,", ["get_weather", "get_time"]),
        ("split", ["a"], ["a"]),
        ("said", "StopEvent(result=ChatMessage(blocks=[TextBlock(text='It is sunny.')]))", "It is sunny."),
        ("said", "AgentInput(user_msg='What\\'s up?', memory=None)", "What\\'s up?"),
        ("said", "StopEvent(blocks=[TextBlock(text='It is sun...", "It is sun..."),
        ("said", "no object", "no object"),
        ("said", {"a": 1}, {"a": 1}),
    ],
)
def test_forms_of_texts(form: str, value: object, meant: object) -> None:
    assert FORMS[form](value) == meant
