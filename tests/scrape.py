"""What a running Headrace says of itself at /metrics, and what the files in deploy/ ask of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml
from conftest import Running
from prometheus_client.openmetrics.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "headrace.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "headrace.json"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
"""What Prometheus asks for."""


class Scrape:
    """One look at /metrics, read by the strict parser of OpenMetrics."""

    def __init__(self, running: Running) -> None:
        answer = httpx.get(f"{running.url}/metrics", headers={"accept": OPENMETRICS}, timeout=30)
        assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name with these labels; a name that is not there fails."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, (name, labels)
        return float(sum(found))

    def counted(self, name: str, label: str) -> dict[str, int]:
        """A counter's values over 0, by the values of a label."""
        counts: dict[str, int] = {}
        for sample in self.samples:
            if sample.name == name and sample.value:
                counts[sample.labels[label]] = counts.get(sample.labels[label], 0) + int(sample.value)
        return counts


def queries(path: Path) -> list[str]:
    """Every PromQL query of the rules or of the dashboard."""
    if path == RULES:
        return [rule["expr"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return [target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel.get("targets", [])]


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics of a query, each with the labels that it is selected by."""
    for name, matchers in re.findall(r"\b((?:headrace|process)_\w+)(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))


def grouping(query: str) -> set[str]:
    """The labels that a query names in `by (…)` and `without (…)`."""
    return {label for labels in re.findall(r"\b(?:by|without) \(([^)]*)\)", query) for label in re.findall(r"\w+", labels)}
