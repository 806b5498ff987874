"""What Kafka's client says of its trouble → a sentence that says what to do. No I/O; nothing in it is a secret."""

from dataclasses import dataclass
from typing import Any

from headrace.config.kafka import KafkaUrl

_TOPIC, _GROUP = ("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"), "GROUP_AUTHORIZATION_FAILED"
_REFUSALS = ("_AUTHENTICATION", "_SSL", *_TOPIC, _GROUP)


@dataclass(frozen=True, slots=True)
class Said:
    """An error of librdkafka: its name, as in `_TRANSPORT`, and its text."""

    name: str
    text: str

    @property
    def is_refusal(self) -> bool:
        """Whether a setting has to mend it, or a rule of the brokers."""
        return self.name in _REFUSALS or "PLAINTEXT" in self.text

    @property
    def is_of_group(self) -> bool:
        """Whether it is about the group. It is said once; later questions only get no answer."""
        return self.name == _GROUP

    @classmethod
    def of(cls, error: Any) -> "Said":
        """From a `KafkaError`, or an exception that has one."""
        first = error.args[0] if isinstance(error, Exception) and error.args else error
        if hasattr(first, "name") and hasattr(first, "str"):
            return cls(str(first.name()), str(first.str()))
        return cls("", str(error) or "no answer in time")


def explain(url: KafkaUrl, said: Said, tls: str = "") -> str:
    """What is wrong, and what to do. `tls`: what Python's TLS says of the same brokers, if it was asked. Of a URL without TLS:
    something, if a broker wants it."""
    if said.name == "_AUTHENTICATION":
        return (
            f"Kafka ({url.brokers}) does not let {_user(url)} in: check the parameters username and sasl ({url.sasl}) of "
            f"HEADRACE_QUEUE_URL, and the password in {url.password_file}, which is read again with each try."
        )
    if said.name == "_SSL":
        return f"No TLS with Kafka ({url.brokers}): {_tls(url, tls or said.text)}"
    if said.name in _TOPIC:
        return _forbidden(url, f"topic {url.topic}", "Describe DescribeConfigs Write Read")
    if said.name == _GROUP:
        return _forbidden(url, f"group {url.group}", "Read")
    return f"Kafka ({url.brokers}) {_no_answer(said, bool(tls))}"


def _no_answer(said: Said, wants_tls: bool) -> str:
    if "PLAINTEXT" in said.text:
        return "has no TLS at this port: name one that has, or leave out the parameters tls and ca of HEADRACE_QUEUE_URL."
    if wants_tls:
        return "wants TLS at this port: set the parameter tls=true of HEADRACE_QUEUE_URL, or ca."
    return f"does not answer: {said.text}"


def _tls(url: KafkaUrl, said: str) -> str:
    if "expired" in said or "not yet valid" in said:
        return f"a broker's certificate is out of date ({said}). Renew it: Headrace tries again by itself."
    if "ostname mismatch" in said or "IP address mismatch" in said:
        return f"{said}. Name the brokers in HEADRACE_QUEUE_URL as their certificate does."
    if "certificate verify failed" in said or "self-signed" in said or "issuer" in said:
        trusted = f"in {url.ca}, its parameter ca" if url.ca else "known to this system"
        return (
            f"the authority of its certificate is not {trusted} ({said}). Set the parameter ca of HEADRACE_QUEUE_URL to a PEM "
            "file of the brokers' authority, and start again."
        )
    return f"{said}. Check the parameters ca, cert and key of HEADRACE_QUEUE_URL."


def _forbidden(url: KafkaUrl, what: str, operations: str) -> str:
    options = " ".join((f"--{what}", *(f"--operation {name}" for name in operations.split())))
    roles = " (a receiver needs no Read, a writer no Write)" if "Write" in operations else ""
    return (
        f"Kafka ({url.brokers}) forbids {_user(url)} to use the {what}. Allow it{roles}, and Headrace goes on by itself: "
        f"kafka-acls.sh --bootstrap-server {url.brokers} --add --allow-principal User:{url.username or 'NAME'} {options}"
    )


def _user(url: KafkaUrl) -> str:
    if url.username:
        return f"the user {url.username}"
    return f"the user of {url.cert}" if url.cert else "a user without a name"
