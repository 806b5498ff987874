"""The URL of a queue in Kafka, read. No I/O."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_EXAMPLE = "kafka://broker-1:9092,broker-2:9092/otlp_spans"
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SIGNALS = ("traces", "logs", "metrics")
_PARAMETERS = ("group", "signal", "tls", "ca", "cert", "key", "sasl", "username", "password_file", "session_seconds")


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """Where the queue is, and how the brokers are spoken to. It holds no secret: passwords and keys stand in files.

    `group`: the consumer group of the writers. `ca`, `cert`, `key`: PEM files. `session_seconds`: how long a writer that is not
    heard of keeps its partitions. `signal`: what records hold that others wrote, and that do not say it.
    """

    brokers: str
    topic: str
    group: str = "headrace"
    signal: str = "traces"
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    sasl: str = ""
    username: str = ""
    password_file: str = ""
    session_seconds: int = 45

    @classmethod
    def parse(cls, text: str) -> "KafkaUrl":
        """Reads `kafka://host:port,…/topic?tls=true&sasl=SCRAM-SHA-512&username=…&password_file=…`.

        Raises:
            ValueError: it cannot be used. The message never repeats the text, which may hold a password by mistake.
        """
        url = urlsplit(text)
        if url.scheme != "kafka" or not all(map(_is_address, url.netloc.split(","))) or "/" in (url.path.strip("/") or "/"):
            raise ValueError(f"must look like `{_EXAMPLE}`, without a user and without a password")
        given = dict(parse_qsl(url.query, keep_blank_values=True))
        if unknown := sorted(set(given) - set(_PARAMETERS)):
            known = unknown[0] if unknown[0].isidentifier() and "pass" not in unknown[0] else "of that name"
            raise ValueError(f"has no parameter {known}: known are {', '.join(_PARAMETERS)}")
        values = {name: value for name, value in given.items() if name not in ("tls", "session_seconds")}
        tls = _truth(given.get("tls", str(bool(given.get("ca") or given.get("cert")))))
        found = cls(url.netloc, url.path.strip("/"), tls=tls, session_seconds=_seconds(given), **values)
        found.check()
        return found

    def check(self) -> None:
        """Raises ValueError if the parameters do not go together."""
        if self.sasl and self.sasl not in _MECHANISMS:
            raise ValueError(f"must have one of {', '.join(_MECHANISMS)} as its parameter sasl")
        if bool(self.sasl) != bool(self.username and self.password_file):
            raise ValueError("must have the parameters sasl, username and password_file, or none of them")
        if bool(self.cert) != bool(self.key):
            raise ValueError("must have both parameters cert and key, or neither")
        if (self.ca or self.cert) and not self.tls:
            raise ValueError("must not have tls=false beside ca or cert")
        if self.signal not in _SIGNALS:
            raise ValueError(f"must have one of {', '.join(_SIGNALS)} as its parameter signal")
        if not self.group:
            raise ValueError("must have a name as its parameter group")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon and "@" not in text and port.isdecimal() and 0 < int(port) < 65536)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("must have true or false as its parameter tls")
    return text.lower() == "true"


def _seconds(given: dict[str, str]) -> int:
    text = given.get("session_seconds", "45")
    if not text.isdecimal() or not 6 <= int(text) <= 1800:
        raise ValueError("must have a number from 6 to 1800 as its parameter session_seconds")
    return int(text)
