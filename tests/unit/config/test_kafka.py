"""HEADRACE_QUEUE_URL."""

import re
from pathlib import Path

import pytest

from headrace.config import load, unknown_variables
from headrace.config.kafka import KafkaUrl
from headrace.errors import StartError

ROOT = Path(__file__).parents[3]
SECRET = "hunter2"


def test_an_address_and_a_topic_are_enough() -> None:
    assert KafkaUrl.parse("kafka://a:9092,b:9093/otlp_spans") == KafkaUrl("a:9092,b:9093", "otlp_spans")


def test_all_parameters() -> None:
    text = "kafka://a:1/t?group=g&signal=logs&ca=/c&cert=/p&key=/k&sasl=SCRAM-SHA-512&username=u&password_file=/f&session_seconds=10"
    assert KafkaUrl.parse(text) == KafkaUrl(
        "a:1", "t", group="g", signal="logs", tls=True, ca="/c", cert="/p", key="/k", sasl="SCRAM-SHA-512", username="u",
        password_file="/f", session_seconds=10,
    )  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "kafka://a/t",
        "kafka://a:0/t",
        "kafka://a:1,/t",
        "kafka://a:1",
        "kafka://a:1/t/u",
        f"kafka://me:{SECRET}@a:1/t",
        "redis://a:1/t",
        f"kafka://a:1/t?password={SECRET}",
        f"kafka://a:1/t?{SECRET}%20=1",
        "kafka://a:1/t?sasl=PLAIN",
        "kafka://a:1/t?username=u&password_file=/f",
        "kafka://a:1/t?sasl=GSSAPI&username=u&password_file=/f",
        "kafka://a:1/t?cert=/c",
        "kafka://a:1/t?ca=/c&tls=false",
        "kafka://a:1/t?tls=perhaps",
        "kafka://a:1/t?session_seconds=1",
        "kafka://a:1/t?group=",
        "kafka://a:1/t?signal=profiles",
    ],
)
def test_what_cannot_be_used_is_said_without_a_secret(url: str) -> None:
    with pytest.raises(StartError, match=r"HEADRACE_QUEUE_URL (must|has)") as refused:
        load(queue_url=url)
    assert SECRET not in str(refused.value)


def test_the_queue_is_on_disk_by_default() -> None:
    assert load().kafka is None
    assert load(queue_url="").kafka is None


@pytest.mark.parametrize("files", ["docker-compose.yaml", "deploy/kubernetes-kafka/*.yaml"])
def test_what_the_files_of_deploy_set_are_settings(files: str) -> None:
    text = "".join(path.read_text() for path in sorted(ROOT.glob(files)))
    names = set(re.findall(r"(?<![$\w{])HEADRACE_[A-Z_]+(?=:)", text))
    assert unknown_variables(dict.fromkeys(names, "")) == []
    (url,) = set(re.findall(r"HEADRACE_QUEUE_URL: (\S+)", text))
    assert KafkaUrl.parse(url).topic == "otlp_spans"
