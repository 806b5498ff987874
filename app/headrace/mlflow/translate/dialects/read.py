"""A file of dialects → their tables. Reads files; checks each line.

What is wrong is said with the file, the line and the key. docs/frameworks.md describes the format.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import yaml

from headrace.errors import StartError
from headrace.mlflow.translate.dialects.forms import FORMS
from headrace.mlflow.translate.dialects.table import BESIDE_ATTRIBUTES, LISTS, TARGETS, TYPES, Condition, Dialect, Rule

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_HEAD = ("about", "source", "when", "scope")
"""Keys of a dialect that are no targets."""
_OF_A_RULE = ("from", "map", "is", "form", "replaces", "where", "tag")
_MAX_BYTES = 1024 * 1024


@lru_cache(maxsize=1)
def shipped() -> tuple[Dialect, ...]:
    """The dialects that come with Headrace, in the order in which they are asked: that of their files' names."""
    folder = files("headrace.mlflow.translate.dialects") / "shipped"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    return tuple(dialect for entry in found for dialect in read(entry.read_text("utf-8"), entry.name))


def read_file(path: Path) -> tuple[Dialect, ...]:
    """The dialects of a user's file.

    Raises:
        StartError: the file cannot be read, or something in it is wrong.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise StartError(f"HEADRACE_DIALECTS: {path} has over {_MAX_BYTES:,} bytes. A file of dialects is a short one.")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"HEADRACE_DIALECTS: {path} cannot be read: {error}") from None
    return read(text, str(path))


def read(text: str, file: str) -> tuple[Dialect, ...]:
    """The dialects of a file's text.

    Raises:
        StartError: something is wrong with it.
    """
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else file
        raise StartError(f"{place}: this is no YAML: {getattr(error, 'problem', None) or error}") from None
    if node is None:
        raise StartError(f"{file}: there is no dialect in it.")
    reader = _Reader(file)
    return tuple(reader.dialect(name, value) for name, _, value in reader.pairs(node, "a dialect's name and its table"))


class _Reader:
    """Reads the nodes of one file, which know their lines."""

    def __init__(self, file: str) -> None:
        self._file = file

    def fail(self, node: yaml.Node, message: str) -> NoReturn:
        """Names the place."""
        raise StartError(f"{self._file}:{node.start_mark.line + 1}: {message}")

    def pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Name, its node and its value's, of a mapping."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} belongs here, as `name: value`.")
        seen = set()
        for key, value in node.value:
            name = self.text(key, "a name")
            if name in seen:
                self.fail(key, f"`{name}` stands here for the second time.")
            seen.add(name)
            yield name, key, value

    def text(self, node: yaml.Node, what: str) -> str:
        """A text. Numbers and truth values are taken as they are written."""
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self.fail(node, f"{what} belongs here, as a text.")
        return str(node.value)

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """One, or a list."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.text(item, what) for item in node.value)
        return (self.text(node, what),)

    def dialect(self, name: str, node: yaml.Node) -> Dialect:
        """One dialect's table."""
        head: dict[str, Any] = {}
        rules: list[Rule] = []
        for key, place, value in self.pairs(node, "what a dialect says"):
            if key in _HEAD:
                head[key] = value
            elif key in TARGETS:
                rules += self._rules(name, key, value)
            else:
                self.fail(place, f"`{key}` of `{name}` is unknown. It may be {', '.join((*_HEAD, *TARGETS))}.")
        if not rules:
            self.fail(node, f"`{name}` has no rule.")
        about = self.text(head["about"], "`about`") if "about" in head else ""
        when = self._conditions(head["when"]) if "when" in head else ()
        scopes = self.texts(head["scope"], "the name of a scope") if "scope" in head else ()
        beside = next((rule.key for rule in rules if rule.key.startswith(BESIDE_ATTRIBUTES)), None)
        if beside and not (when or scopes):
            self.fail(node, f"`{name}` reads {beside}, so it needs `when` or `scope`: which spans are its own.")
        return Dialect(name, about, self._file, tuple(rules), when, scopes)

    def _conditions(self, node: yaml.Node) -> tuple[Condition, ...]:
        if isinstance(node, yaml.MappingNode):
            pairs = self.pairs(node, "an attribute")
            return tuple(Condition(key, self.texts(value, "a value")) for key, _, value in pairs)
        if isinstance(node, yaml.SequenceNode):
            return tuple(condition for item in node.value for condition in self._conditions(item))
        return (Condition(self.text(node, "the key of an attribute")),)

    def _rules(self, dialect: str, target: str, node: yaml.Node) -> Iterator[Rule]:
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(item, yaml.MappingNode):
                yield self._checked(item, Rule(dialect, target, **self._source(target, item)))
                continue
            parts = {}
            for key, place, value in self.pairs(item, "a rule"):
                if key not in _OF_A_RULE:
                    self.fail(place, f"`{key}` is no part of a rule. It may have {', '.join(_OF_A_RULE)}.")
                parts[key] = value
            if "from" not in parts:
                self.fail(item, "a rule needs `from`: the attribute that it reads.")
            for source in self._items(parts["from"]):
                yield self._checked(item, Rule(dialect, target, **self._source(target, source), **self._options(parts)))

    def _items(self, node: yaml.Node) -> list[yaml.Node]:
        return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]

    def _source(self, target: str, node: yaml.Node) -> dict[str, Any]:
        """`key`, `key > path.in.its.json`, or `prefix.*`."""
        text = self.text(node, "the key of an attribute")
        key, arrow, path = (part.strip() for part in text.partition(" > "))
        if arrow and not (key and all(path.split("."))):
            self.fail(node, f"`{text}` should be `attribute > path.in.its.json`.")
        if not key.endswith(".*"):
            return {"key": key, "path": tuple(path.split(".")) if arrow else ()}
        if arrow or target not in LISTS:
            self.fail(node, f"`{text}`: only {', '.join(LISTS)} are read off all attributes that begin alike.")
        return {"key": key[:-1], "flattened": True}

    def _options(self, parts: dict[str, yaml.Node]) -> dict[str, Any]:
        """What a rule says beside `from`."""
        options: dict[str, Any] = {}
        if "map" in parts:
            pairs = self.pairs(parts["map"], "what the attribute says and what that means")
            options["mapping"] = {key: self.text(value, "a value") for key, _, value in pairs}
        for name, field in (("is", "constant"), ("tag", "tag")):
            if name in parts:
                options[field] = self.text(parts[name], f"`{name}`")
        if "form" in parts:
            options["forms"] = self.texts(parts["form"], "the name of a form")
        if "where" in parts:
            options["where"] = self._conditions(parts["where"])
        if "replaces" in parts:
            if (said := self.text(parts["replaces"], "`replaces`")) not in {"true", "false"}:
                self.fail(parts["replaces"], f"`replaces` is true or false, not `{said}`.")
            options["replaces"] = said == "true"
        return options

    def _checked(self, node: yaml.Node, rule: Rule) -> Rule:
        """The rule, if it makes sense."""
        if wrong := next((form for form in rule.forms if form not in FORMS), None):
            self.fail(node, f"there is no form `{wrong}`. There are {', '.join(FORMS)}.")
        if (rule.target == "tags") != bool(rule.tag):
            self.fail(node, "`tag` names the tag of a rule of `tags`, and of no other.")
        said = [*(rule.mapping or {}).values(), *filter(None, [rule.constant])]
        if rule.target == "type":
            if wrong := next((value for value in said if value not in TYPES), None):
                self.fail(node, f"`{wrong}` is no type of MLflow's. There are {', '.join(TYPES)}.")
            if not said:
                self.fail(node, "a rule of `type` needs `map` or `is`: which type each value means.")
        return rule
