"""What Kafka's client says, in words that say what to do."""

import pytest

from headrace.config.kafka import KafkaUrl
from headrace.queue.kafka.words import Said, explain

URL = KafkaUrl.parse("kafka://a:1/t?group=g&ca=/ca&sasl=PLAIN&username=u&password_file=/p")
PLAIN = KafkaUrl.parse("kafka://a:1/t")
VERIFY = "SSL handshake failed: certificate verify failed: broker certificate could not be verified"


@pytest.mark.parametrize(
    ("url", "name", "text", "tls", "words"),
    [
        (URL, "_AUTHENTICATION", "SASL authentication error", "", "does not let the user u in: | PLAIN | /p"),
        (URL, "_SSL", VERIFY, "certificate verify failed: unable to get local issuer certificate", "parameter ca | /ca"),
        (URL, "_SSL", VERIFY, "", "parameter ca | /ca"),
        (
            PLAIN,
            "_SSL",
            VERIFY,
            "certificate verify failed: self-signed certificate in certificate chain",
            "known to this system",
        ),
        (URL, "_SSL", VERIFY, "certificate verify failed: certificate has expired", "Renew it | tries again by itself"),
        (URL, "_SSL", VERIFY, "certificate verify failed: certificate is not yet valid", "out of date"),
        (
            URL,
            "_SSL",
            VERIFY,
            "certificate verify failed: IP address mismatch, certificate is not valid for '::1'",
            "Name the brokers",
        ),
        (URL, "_SSL", "ssl certificate_unknown", "", "parameters ca, cert and key"),
        (URL, "_TRANSPORT", "connecting to a PLAINTEXT broker listener?", "", "has no TLS at this port"),
        (PLAIN, "_TRANSPORT", "Broker transport failure", "wanted", "wants TLS | tls=true"),
        (PLAIN, "_TRANSPORT", "Connection refused", "", "does not answer: Connection refused"),
        (URL, "TOPIC_AUTHORIZATION_FAILED", "", "", "the topic t | User:u --topic t | --operation Write"),
        (URL, "CLUSTER_AUTHORIZATION_FAILED", "", "", "the topic t | --operation Write"),
        (URL, "GROUP_AUTHORIZATION_FAILED", "", "", "the group g | --group g --operation Read"),
        (PLAIN, "TOPIC_AUTHORIZATION_FAILED", "", "", "a user without a name | User:NAME"),
    ],
)
def test_each_says_what_to_do(url: KafkaUrl, name: str, text: str, tls: str, words: str) -> None:
    said = explain(url, Said(name, text), tls)
    for part in words.split(" | "):
        assert part in said


def test_what_mends_itself_is_no_refusal() -> None:
    assert not Said("_TRANSPORT", "Connection refused").is_refusal
    assert not Said("_TIMED_OUT", "").is_refusal
    assert Said("_SSL", VERIFY).is_refusal


def test_an_exception_without_an_error_of_kafka_is_said_as_it_is() -> None:
    assert Said.of(TimeoutError()).text == "no answer in time"
    assert Said.of(ValueError("odd")).text == "odd"
