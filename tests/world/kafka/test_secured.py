"""A broker with TLS, passwords and rules: the same queue; and what is wrong is said, tried again, and costs nothing."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from brokers import skip_without_kafka
from conftest import Launcher, Running, rows, wait_until
from contracts.kafka_queue import BOUNDS, KafkaQueueContract
from contracts.queue import QueueContract
from secured import PASSWORD, PLAIN_USER, Secured, secured_broker

import otlp
from headrace.config.kafka import KafkaUrl

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.slow("config errors parts envelope queue processor pipeline export host receiver tests/brokers.py"),
]

SENT = ("READ WRITE DESCRIBE DESCRIBE_CONFIGS", "READ")
"""What one user may do with the topic, and in the group, who both receives and writes."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    skip_without_kafka()
    with secured_broker(tmp_path_factory.mktemp("secured")) as made:
        yield made


@pytest.fixture
def user(broker: Secured) -> str:
    """A user of SCRAM who may do nothing yet."""
    name = f"user-{time.time_ns()}"
    broker.set_password(name)
    return name


class TestSecured(KafkaQueueContract):
    """A part of the contract is enough: the road to the broker is another, the queue the same."""

    @pytest.fixture(autouse=True, params=["SCRAM-SHA-512", "PLAIN"])
    def _topic(self, request: pytest.FixtureRequest, broker: Secured) -> None:
        name, group = PLAIN_USER if request.param == "PLAIN" else "contract", f"contract-{time.time_ns()}"
        broker.set_password(name)
        topic = broker.cluster.new_topic(max_message_bytes=BOUNDS.record)
        broker.allow(name, topic, operations=SENT[0])
        broker.allow(name, group=group, operations=SENT[1])
        self.url = KafkaUrl.parse(broker.url(topic, name, request.param, group=group))


for _name in vars(QueueContract):  # a part of it
    if _name.startswith("test_") and not _name.endswith(("once", "opened_again", "refuses_the_rest")):
        setattr(TestSecured, _name, None)


def unready(running: Running) -> str:
    """Why it takes no requests. Empty: it does."""
    return str(running.ready().get("reason", ""))


def send(running: Running) -> int:
    """The status of a request with one span."""
    return running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0").status_code


def no_secret(running: Running) -> None:
    """Its log and its answers have neither a password nor a part of one."""
    for text in (running.log.read_text(), str(running.ready())):
        assert PASSWORD not in text
        assert "wrong-guess" not in text


def test_a_wrong_password_is_said_and_the_mended_file_is_read_again(
    broker: Secured, user: str, headrace: Launcher, database_url: str, tmp_path: Path
) -> None:
    topic, file = broker.cluster.new_topic(2), tmp_path / "password"
    broker.allow(user, topic, operations=SENT[0])
    broker.allow(user, group="headrace", operations=SENT[1])
    file.write_text("wrong-guess")
    both = headrace("serve", queue_url=broker.url(topic, user, password_file=file), database_url=database_url)
    reason = wait_until(lambda: unready(both), 60, "it says why it is not ready")
    assert all(word in reason for word in (user, "SCRAM-SHA-512", str(file))), reason
    assert send(both) == 503
    file.write_text(PASSWORD)
    wait_until(lambda: not unready(both) and send(both) == 200, 90, "the password is read again")
    wait_until(lambda: rows(database_url, "SELECT span_id FROM spans"), 90, "the reader has the password, too")
    no_secret(both)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"ca": "other"}, ("parameter ca", "authority"), id="unknown authority"),
        pytest.param({"ca": "", "tls": "true"}, ("parameter ca", "known to this system"), id="no authority"),
        pytest.param({"port": "expired"}, ("certificate has expired", "Renew it"), id="expired"),
        pytest.param({"ca": "", "sasl": "", "username": "", "password_file": ""}, ("wants TLS", "tls=true"), id="no TLS"),
        pytest.param({"port": "plain"}, ("has no TLS",), id="a port without TLS"),
    ],
)
def test_no_tls_is_said_with_what_to_do(
    broker: Secured,
    user: str,
    headrace: Launcher,
    database_url: str,
    tmp_path: Path,
    changes: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    ports = {"expired": broker.expired_port, "plain": int(broker.cluster.addresses.rpartition(":")[2])}
    changes = {name: ports.get(str(value), value) for name, value in changes.items()}
    if changes.get("ca") == "other":
        changes["ca"] = Authority(tmp_path, "other").path
    topic = broker.cluster.new_topic()
    receiver = headrace("receive", queue_url=broker.url(topic, user, **changes), database_url=database_url)
    reason = wait_until(lambda: unready(receiver), 60, "it says why it is not ready")
    assert all(word in reason for word in words), reason
    assert send(receiver) == 503
    no_secret(receiver)


@pytest.mark.parametrize(
    ("command", "operations", "missing"),
    [
        ("receive", "", "--topic"),
        ("receive", "DESCRIBE", "DescribeConfigs"),
        ("receive", "DESCRIBE DESCRIBE_CONFIGS", "Write"),
        ("write", "DESCRIBE DESCRIBE_CONFIGS", "--group"),
    ],
)
def test_what_the_user_may_not_do_is_said_and_goes_on_once_he_may(
    broker: Secured, user: str, headrace: Launcher, database_url: str, command: str, operations: str, missing: str
) -> None:
    topic = broker.cluster.new_topic(2)
    if operations:
        broker.allow(user, topic, operations=operations)
    running = headrace(command, queue_url=broker.url(topic, user), database_url=database_url)

    def refused() -> str:
        assert command == "write" or send(running) == 503
        return unready(running)

    reason = wait_until(lambda: "kafka-acls.sh" in (found := refused()) and found, 60, "it says what is missing")
    assert all(word in reason for word in (user, missing)), reason
    if command == "receive":
        broker.allow(user, topic, operations="WRITE DESCRIBE DESCRIBE_CONFIGS")  # no right in the group is needed
        wait_until(lambda: send(running) == 200, 60, "it goes on")
    else:
        broker.allow(user, topic, operations="READ")
        broker.allow(user, group="headrace", operations="READ")
    wait_until(lambda: not unready(running), 60, "it is ready")
    assert running.process.poll() is None
    no_secret(running)
