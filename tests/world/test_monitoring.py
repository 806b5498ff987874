"""deploy/: the alert rules and the dashboard, against Prometheus' own tool and the documentation. That each metric in them
is there is checked where Headrace runs, in test_telemetry.py."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from scrape import DASHBOARD, RULES, queries

ROOT = Path(__file__).parents[2]
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
NAMES = [alert["alert"] for alert in ALERTS]

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")

HEALTHY = {
    "up": "1x120",
    "headrace_ready": "1x120",
    "headrace_database_up": "1x120",
    "headrace_queue_bytes": "1000x120",
    "headrace_queue_max_bytes": "10000x120",
    "headrace_queue_oldest_age_seconds": "0.2x120",
    "headrace_in_flight_bytes": "100x120",
    "headrace_in_flight_max_bytes": "10000x120",
    "headrace_export_loop_timestamp_seconds": "0+60x120",
    "headrace_write_retries_total": "0x120",
    "headrace_spans_dead_lettered_total": "0x120",
    "headrace_spans_received_total": "0+6000x120",
    'headrace_spans_rejected_total{reason="invalid_trace_id"}': "0+60x120",
    'headrace_spans_rejected_total{reason="no_experiment"}': "0x120",
    'headrace_requests_total{protocol="grpc",signal="traces",code="OK"}': "0+600x120",
    'headrace_requests_total{protocol="http/json",signal="traces",code="400"}': "0+6x120",
    'headrace_requests_total{protocol="http",signal="none",code="404"}': "0+6000x120",
    'headrace_requests_refused_total{reason="unexpected"}': "0x120",
    'headrace_requests_refused_total{reason="malformed_body"}': "0+6x120",
    'headrace_records_dead_lettered_total{signal="metrics"}': "0x120",
    'headrace_records_received_total{signal="metrics"}': "0+6000x120",
    'headrace_records_rejected_total{signal="metrics",reason="no_run"}': "0+3000x120",
    'headrace_records_rejected_total{signal="metrics",reason="unknown_run"}': "0+60x120",
    'headrace_records_accepted_total{signal="logs"}': "0+6000x120",
    'headrace_logs_expired_total{reason="too_old"}': "0+60x120",
    "headrace_forward_oldest_age_seconds": "1x120",
    'headrace_forwarded_points_total{outcome="sent"}': "0+600x120",
    'headrace_forwarded_points_total{outcome="refused"}': "0x120",
    'headrace_ack_seconds_bucket{le="0.05"}': "0+500x120",
    'headrace_ack_seconds_bucket{le="0.25"}': "0+599x120",
    'headrace_ack_seconds_bucket{le="1"}': "0+600x120",
    'headrace_ack_seconds_bucket{le="+Inf"}': "0+600x120",
    'headrace_queue_commit_seconds_bucket{le="0.1"}': "0+600x120",
    'headrace_queue_commit_seconds_bucket{le="0.25"}': "0+600x120",
    'headrace_queue_commit_seconds_bucket{le="+Inf"}': "0+600x120",
    'headrace_visible_seconds_bucket{le="30"}': "0+600x120",
    'headrace_visible_seconds_bucket{le="60"}': "0+600x120",
    'headrace_visible_seconds_bucket{le="+Inf"}': "0+600x120",
    'process_start_time_seconds{worker="1"}': "1000x120",
    "process_open_fds": "100x120",
    "process_max_fds": "1024x120",
    "headrace_kafka_away": "0x120",
    "headrace_kafka_lag_records": "20x120",
    'headrace_kafka_records_total{outcome="acknowledged"}': "0+6000x120",
    'headrace_kafka_records_total{outcome="failed"}': "0x120",
    'headrace_spilled_requests_total{stage="kept"}': "0x120",
    "headrace_kafka_rebalances_total": "6x120",
    "headrace_kafka_records_expired_total": "0x120",
}
"""One sample a minute for two hours, of a Headrace that is well."""

TROUBLE: dict[str, tuple[dict[str, str], str]] = {
    "HeadraceDown": ({"up": "1x60 0x60"}, "63m"),
    "HeadraceNotReady": ({"headrace_ready": "1x60 0x60"}, "62m"),
    "HeadraceQueueFilling": ({"headrace_queue_bytes": "1000x60 7100x60"}, "67m"),
    "HeadraceQueueOld": ({"headrace_queue_oldest_age_seconds": "1x60 301x60"}, "67m"),
    "HeadraceDatabaseAway": ({"headrace_database_up": "1x60 0x60"}, "65m"),
    "HeadraceWritesRetried": ({"headrace_write_retries_total": "0x60 0+12x60"}, "80m"),
    "HeadraceExportStuck": ({"headrace_export_loop_timestamp_seconds": "0+60x60 3600x60"}, "69m"),
    "HeadraceDeadLetters": ({"headrace_spans_dead_lettered_total": "0x60 1x60"}, "64m"),
    "HeadraceSpansRejected": ({'headrace_spans_rejected_total{reason="no_experiment"}': "0x60 0+600x60"}, "80m"),
    "HeadraceRequestsRefused": (
        {'headrace_requests_total{protocol="http/json",signal="traces",code="400"}': "0x60 0+120x60"},
        "80m",
    ),
    "HeadraceFaults": ({'headrace_requests_refused_total{reason="unexpected"}': "0x60 1x60"}, "64m"),
    "HeadraceAcknowledgesSlowly": ({'headrace_ack_seconds_bucket{le="0.25"}': "0+580x120"}, "80m"),
    "HeadraceDiskSlow": ({'headrace_queue_commit_seconds_bucket{le="0.1"}': "0+580x120"}, "80m"),
    "HeadraceVisibleLate": ({'headrace_visible_seconds_bucket{le="30"}': "0+580x120"}, "80m"),
    "HeadraceBodiesInFlight": ({"headrace_in_flight_bytes": "100x60 9000x60"}, "67m"),
    "HeadraceRestarts": ({'process_start_time_seconds{worker="1"}': "1000x60 4600 4660 4720x58"}, "65m"),
    "HeadraceFilesRunOut": ({"process_open_fds": "100x60 900x60"}, "67m"),
    "HeadraceKafkaAway": ({"headrace_kafka_away": "0x60 1x60"}, "63m"),
    "HeadraceKafkaFails": ({'headrace_kafka_records_total{outcome="failed"}': "0x60 0+120x60"}, "80m"),
    "HeadraceKafkaLag": ({"headrace_kafka_lag_records": "20x60 1100x60"}, "77m"),
    "HeadraceKafkaSpills": ({'headrace_spilled_requests_total{stage="kept"}': "0x60 0+3x60"}, "70m"),
    "HeadraceKafkaRebalances": ({"headrace_kafka_rebalances_total": "6x60 6+2x60"}, "80m"),
    "HeadraceKafkaExpired": ({"headrace_kafka_records_expired_total": "0x60 5x60"}, "64m"),
    "HeadraceRecordDeadLetters": ({'headrace_records_dead_lettered_total{signal="metrics"}': "0x60 1x60"}, "64m"),
    "HeadraceRecordsRejected": (
        {'headrace_records_rejected_total{signal="metrics",reason="unknown_run"}': "0x60 0+600x60"},
        "80m",
    ),
    "HeadraceLogsExpire": ({'headrace_logs_expired_total{reason="too_old"}': "0x40 0+600x80"}, "115m"),
    "HeadraceForwardWaits": ({"headrace_forward_oldest_age_seconds": "1x60 301x60"}, "67m"),
    "HeadraceForwardLoses": ({'headrace_forwarded_points_total{outcome="refused"}': "0x60 5x60"}, "64m"),
}
"""An alert → what of the above is otherwise, and when it is to fire; it, and no other."""


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def case(changes: dict[str, str], at: str, expected: list[str]) -> dict[str, Any]:
    """One of promtool's tests: which alerts fire at a time."""
    assert changes.keys() <= HEALTHY.keys()
    common = 'job="headrace",instance="a:4318"'
    named = {name if "{" in name else name + "{}": values for name, values in (HEALTHY | changes).items()}
    series = [{"series": name.replace("{", "{" + common + ",").replace(",}", "}"), "values": v} for name, v in named.items()]
    firing = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected]
    question = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": question, "eval_time": at, "exp_samples": firing}],
    }


@needs_promtool
def test_prometheus_accepts_the_rules_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", RULES.with_name("prometheus.yml"))
    asked = [query.replace("$__rate_interval", "5m") for query in queries(DASHBOARD)]
    assert len(asked) > 30
    recorded = [{"record": f"panel:query{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", tmp_path / "panels.yml")


@needs_promtool
def test_each_alert_fires_on_its_trouble_and_on_no_other(tmp_path: Path) -> None:
    assert list(TROUBLE) == NAMES
    tests = [case({}, "110m", [])]
    tests += [case(changes, at, [name]) for name, (changes, at) in TROUBLE.items()]
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    promtool("test", "rules", tmp_path / "test.yml")


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_each_alert_says_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+m", alert["for"])
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor == alert["alert"].lower()  # as Markdown's readers make it of the heading
    assert alert["alert"] in headings


def test_the_runbook_has_no_section_of_an_alert_that_is_none() -> None:
    headings = re.findall(r"^### (Headrace[A-Z]\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert headings == NAMES


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    titles = ["Intake", "Queue", "Writing", "Errors", "Logs and metrics", "Process", "Kafka"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == titles
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["description"]
            assert set(re.findall(r"Alert: (\w+)\.", panel["description"])) <= set(NAMES)
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
    for query in queries(DASHBOARD):
        assert 'job=~"$job", instance=~"$instance"' in query
