"""Writes what the code says into the documentation: `make docs`.

It writes the tables of settings (from `headrace.config`; the README has ten of them), of metrics (from
`headrace.telemetry`), of logged events (from every call of `log`), of reserved tags (from
`headrace.mlflow.reserved`), of dialects (from `headrace.mlflow.translate.dialects`) and of problems (from
`headrace.doctor.problems`), and the help of all commands.
`tests/unit/test_docs.py` fails if a page differs from what this writes.
"""

import ast
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import Any

import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic_core import PydanticUndefined

from headrace.cli.main import app
from headrace.config import Config
from headrace.doctor.problems import PROBLEMS
from headrace.mlflow.reserved import RESERVED_TAGS
from headrace.mlflow.translate.dialects.forms import FORMS
from headrace.mlflow.translate.dialects.read import shipped
from headrace.mlflow.translate.dialects.table import TARGETS
from headrace.telemetry import families, kafka, records, waiting
from headrace.telemetry import metrics as telemetry

ROOT = Path(__file__).parent.parent
LEVELS = ("error", "warning", "info", "debug")
MAIN_SETTINGS = (
    *("database_url", "data_dir", "host", "http_port", "default_experiment"),
    *("routes", "enrich", "workers", "api_keys", "queue_max_bytes"),
)
"""The settings in the README's table, in this order. docs/configuration.md has all of them."""


def settings(names: Iterable[str] = Config.model_fields) -> str:
    """A Markdown table of these settings: variable, default, meaning."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name in names:
        field = Config.model_fields[name]
        default = field.default
        if default is None or default == () or default is PydanticUndefined or default == "":
            shown = "–"
        elif isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        else:
            shown = f"`{','.join(map(str, default)) if isinstance(default, tuple) else default}`"
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `HEADRACE_{name.upper()}` | {shown} | {meaning} |")
    return "\n".join(lines)


def main_settings() -> str:
    """The same table, of the settings that most people need."""
    return settings(MAIN_SETTINGS)


def collectors() -> list[MetricWrapperBase]:
    """All metrics: those of `metrics.py`, then those of the modules beside it."""
    beside = [
        each for module in (waiting, kafka, records) for each in vars(module).values() if isinstance(each, MetricWrapperBase)
    ]
    own = [each for each in vars(telemetry).values() if isinstance(each, MetricWrapperBase) and each not in beside]
    return [*own, *beside]


def metrics() -> str:
    """A Markdown table: metric, type, labels with the values that are known, meaning."""
    lines = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    for collector in collectors():
        (metric,) = collector.describe()
        name = metric.name + ("_total" if metric.type == "counter" else "")
        labels = "; ".join(starmap(_label, families.LABELS.get(metric.name, {}).items()))
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(lines)


def reserved_tags() -> str:
    """A Markdown table: tag, what it would do."""
    lines = ["| Tag | What it would do |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{key}` | {reason[0].upper()}{reason[1:]}. |" for key, reason in RESERVED_TAGS.items())])


def problems() -> str:
    """A Markdown table: the problem's name, what is wrong, what to do."""
    lines = ["| Problem | What is wrong | What to do |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{each.name}` | {each.wrong} | {each.mend} |" for each in PROBLEMS.values())])


def commands() -> str:
    """The help of each command, as a terminal of 100 columns shows it."""
    return "\n\n".join(_helps(typer.main.get_command(app), None))


def _helps(command: Any, parent: Any) -> Iterator[str]:
    """`command` and `parent` are click's `Command` and `Context`, of whichever package typer has them in."""
    name = "headrace" if parent is None else command.name
    context = command.context_class(command, parent, name, terminal_width=100, max_content_width=100)
    said = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"## {context.command_path}\n\n```\n{textwrap.dedent(said).strip()}\n```"
    for each in getattr(command, "commands", {}).values():
        yield from _helps(each, context)


def dialects() -> str:
    """A Markdown table: dialect, what it is, what its rules find, file."""
    lines = ["| Dialect | Whose | What its rules find |", "|---|---|---|"]
    for dialect in shipped():
        targets = list(dict.fromkeys(rule.target for rule in dialect.rules))
        lines.append(f"| `{dialect.name}` | {dialect.about} | {', '.join(targets).replace('_', ' ')} |")
    return "\n".join(lines)


def targets() -> str:
    """A Markdown table: target, meaning."""
    return "\n".join(["| Target | Meaning |", "|---|---|", *(f"| `{name}` | {meaning} |" for name, meaning in TARGETS.items())])


def forms() -> str:
    """A Markdown table: form, what it does."""
    lines = ["| Form | What it makes of the value |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {' '.join((form.__doc__ or '').split())} |" for name, form in FORMS.items())])


def _label(name: str, values: Sequence[str]) -> str:
    return f"`{name}`" + (": " + ", ".join(f"`{value}`" for value in values) if values else "")


@cache
def events() -> str:
    """A Markdown table: level, event, fields. Sorted by level, errors first."""
    found: dict[tuple[int, str], set[str]] = {}
    for path in (ROOT / "app" / "headrace").rglob("*.py"):
        text = path.read_text()
        for level, event, fields in _events_of(ast.parse(text)) if "log." in text or "log_rarely" in text else ():
            found.setdefault((LEVELS.index(level), event), set()).update(fields)
    lines = ["| Level | Event | Fields |", "|---|---|---|"]
    for (number, event), names in sorted(found.items()):
        lines.append(f"| {LEVELS[number]} | {event} | {', '.join(f'`{name}`' for name in sorted(names))} |")
    return "\n".join(lines)


def _events_of(tree: ast.Module) -> Iterator[tuple[str, str, set[str]]]:
    """The calls `log.LEVEL("event", field=…)` and `log_rarely("event", kind, field=…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = called_by(node)
            level = "warning" if called == "log_rarely" else called.removeprefix("log.")
            if called in ("log_rarely", f"log.{level}") and isinstance(node.args[0], ast.Constant):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield level, str(node.args[0].value), {"exception" if name == "exc_info" else name for name in fields}


def called_by(node: ast.Call) -> str:
    """`function` or `owner.function`. Empty for any other expression that is called."""
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


BLOCKS = {
    "main settings": ("app/headrace/config", main_settings),
    "settings": ("app/headrace/config", settings),
    "metrics": ("app/headrace/telemetry", metrics),
    "events": ("the calls of `log`", events),
    "commands": ("app/headrace/cli", commands),
    "problems": ("app/headrace/doctor/problems.py", problems),
    "reserved tags": ("app/headrace/mlflow/reserved.py", reserved_tags),
    "dialects": ("app/headrace/mlflow/translate/dialects/shipped", dialects),
    "targets": ("app/headrace/mlflow/translate/dialects/table.py", targets),
    "forms": ("app/headrace/mlflow/translate/dialects/forms.py", forms),
}
PAGES = {
    "README.md": ["main settings"],
    "docs/commands.md": ["commands"],
    "docs/configuration.md": ["settings"],
    "docs/operations.md": ["metrics", "events"],
    "docs/security.md": ["reserved tags"],
    "docs/troubleshooting.md": ["problems"],
    "docs/frameworks.md": ["dialects", "targets", "forms"],
}


def rendered(page: str) -> str:
    """The page with each of its tables between two markers."""
    text = (ROOT / page).read_text()
    for name in PAGES[page]:
        source, table = BLOCKS[name]
        begin, end = f"<!-- {name}: generated by `make docs` from {source} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(rendered(page))
