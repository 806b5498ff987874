"""What people are told when something is wrong, as a text that a review can read: messages.txt beside this file.

A changed message fails the test until the text is written anew:

    PYTHONPATH=app:tests .venv/bin/python -m unit.test_messages > tests/unit/messages.txt
"""

import itertools
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from headrace.cli.settings import settings
from headrace.config import load, problems
from headrace.errors import StartError
from headrace.local.child import Child
from headrace.local.keeper import Keeper, Ready
from headrace.receiver import auth, door, paths
from headrace.receiver.answers import status_of
from headrace.receiver.first_bytes import GRPC, HTTP, Spoken
from headrace.receiver.who import Who
from headrace.store import sqlstate

TEXT = Path(__file__).parent / "messages.txt"

RULE = {"match": {"service.name": "a-*"}, "experiment": "a"}
WRONG: list[tuple[str, str]] = [
    ("http_port", "seventy"), ("http_port", "70000"), ("workers", "1.5"), ("header_seconds", "0"), ("enrich", "perhaps"),
    ("log_level", "loud"), ("log_format", "xml"), ("path_prefix", "otel"), ("database_url", "mysql://host/db"),
    ("database_url", "postgresql://me:pa/ss@host/db"), ("traces_endpoint", "collector:4317"), ("traces_headers", "x"),
    ("tls_cert", "server.pem"), ("tls_client_ca", "clients.pem"), ("routes", "{"), ("routes", "{}"), ("routes", "[3]"),
    ("routes", json.dumps([RULE, {"matches": {"a": "b"}, "experiment": "a"}])),
    ("routes", json.dumps([{**RULE, "priority": 1}])), ("routes", json.dumps([{"match": {}, "experiment": ""}])),
    ("routes", json.dumps([{"match": {"service.name": 3}}])),
]  # fmt: skip
"""Settings as somebody may write them, wrongly."""
KEYS: list[str] = [
    "", "[]", '{"keys": 1}', '{"keys": [{"id": "1", "name": "a", "sha256": "0", "created": "soon"}]}',
    '{"keys": [{"id": "1", "name": "a", "sha256": "0", "created": "2027-01-31T00:00:00Z", "experiment": ["7"]}]}',
]  # fmt: skip
"""Files of API keys, damaged."""
OPENSSL = (
    *("PEER_DID_NOT_RETURN_A_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
    *("UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "RECORD_TOO_SMALL"),
)


def postgres() -> Iterator[str]:
    """Point 7: what Postgres says."""
    for code in (*sqlstate._REFUSALS, None, *sqlstate._STATES):
        mend = sqlstate.mend(code)
        yield f"{code or 'no SQLSTATE'}: {sqlstate.meaning(code)}{': ' if mend else ''}{mend}"


def refused_paths() -> Iterator[str]:
    """Point 8: a path or a method that takes no OTLP, and who sent it."""
    for method, path, status in (("POST", "/v1/trace", 404), ("GET", "/v1/traces", 405)):
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "server": ("h", 1), "scheme": "http"}
        scope |= {"headers": [(b"user-agent", b"OTel-OTLP-Exporter-Python/1.30.0")], "client": ("192.0.2.7", 5000)}

        def send(scope: Any = scope, status: int = status) -> None:
            run(paths.not_found_or_not_allowed(Request(scope), HTTPException(status)))

        yield from logged("headrace.receiver.answers.log_rarely", send)
    who = Who("192.0.2.7", "Go-http-client/1.1\n", "team-a", "checkout, cart")
    yield from logged("headrace.receiver.answers.log_rarely", lambda: status_of(StartError("An example."), who))


def wrong_ports() -> Iterator[str]:
    """Point 9: each protocol at each wrong port, and handshakes that fail."""
    for here, tls in itertools.product((HTTP, GRPC), (False, True)):
        files = {"tls_cert": "server.pem", "tls_key": "server.key"} if tls else {}
        at = door.Door(here, load(**files), str.encode)
        for protocol, within in itertools.product((HTTP, GRPC, ""), (False, True)):
            if (protocol, within) in ((here, tls), ("", False), ("", tls)):
                continue
            yield at.turn_away(Spoken(protocol), "192.0.2.7", secure=within).decode()
    at = door.Door(HTTP, load(tls_cert="server.pem", tls_key="server.key"), str.encode)
    for name in OPENSSL:
        error = ssl.SSLError(1, name)
        error.reason = name
        yield from logged("headrace.receiver.door.log_rarely", partial(at.handshake_ended, b"", error))


def wrong_settings() -> Iterator[str]:
    """Point 10: settings and files of keys that are wrong."""
    for name, value in WRONG:
        with patch.dict(os.environ, {f"HEADRACE_{name.upper()}": value}), pytest.raises(StartError) as refused:
            load()
        yield str(refused.value)
    with pytest.raises(StartError) as refused:
        load(http_port=70000)
    yield str(refused.value)
    for text in KEYS:
        with pytest.raises(ValidationError) as wrong:
            auth._File.model_validate_json(text)
        yield "; ".join(problems(wrong.value, auth._File, {"keys": '"keys"'}, "key"))


class SlowServer(Child):
    """An MLflow server that ends once, and then takes longer to answer than one has patience."""

    title = "MLflow UI"

    def __init__(self) -> None:
        super().__init__("mlflow-server", "", Path("/data"), [])
        self.starts = self.looks = 0

    @property
    def running(self) -> bool:
        return self.starts > 1

    def start(self, database_url: str) -> None:
        self.starts += 1

    def answers(self) -> bool:
        self.looks += self.running
        return self.looks > 2

    def last_line(self) -> str:
        return "OSError: [Errno 98] Address already in use"

    def stop(self) -> None:
        """Nothing runs."""


def slow_ui() -> Iterator[str]:
    """Point 11: the MLflow UI ends, and is slow."""
    ready = threading.Event()
    keeper = Keeper(SlowServer(), 0.001, Ready(["MLflow UI"], ready.set))
    with patch("headrace.local.keeper.log") as log, patch("headrace.local.keeper._FIRST_PAUSE_SECONDS", 0.01):
        keeper.start("postgresql:///mlflow")
        assert ready.wait(20)
        keeper.stop()
    for level, (event, *_), fields in log.mock_calls:
        yield f"{level}: {event} {fields}"


def logged(place: str, act: Callable[[], Any]) -> Iterator[str]:
    """The events that an act logs."""
    with patch(place) as log:
        act()
    for call in log.call_args_list:
        yield f"{call.args[0]} {call.kwargs}"


def run(answer: Any) -> None:
    """Runs a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        answer.send(None)


@cache
def messages() -> str:
    """All of them."""
    parts = []
    with patch.dict(os.environ), patch("headrace.telemetry.logging.log"):
        for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
            del os.environ[name]
        for part in (postgres, refused_paths, wrong_ports, wrong_settings, slow_ui):
            lines = list(part())
            assert not [line for line in lines if "\n" in line], "a refusal is one line"
            parts.append("\n".join([f"# {part.__doc__}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def test_the_messages_are_those_that_were_reviewed() -> None:
    assert messages() == TEXT.read_text()


def test_no_message_names_an_internal_type() -> None:
    assert not re.findall(
        r"\b[a-z_]+Error\b|\b_?[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", messages().replace("OSError", "").replace("MLflow", "")
    )


def test_every_setting_is_listed_with_its_default() -> None:
    said = settings()
    assert "HEADRACE_HTTP_PORT [default: 4318]" in said
    assert "HEADRACE_DATABASE_URL [default: unset]" in said
    assert "HEADRACE_ENRICH [default: true]" in said


if __name__ == "__main__":
    print(messages(), end="")
