"""Who was refused of late: what is remembered, and who may know."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from console import some_keys
from starlette.requests import Request

from headrace.config import Config, load
from headrace.receiver.auth import Keys, new_key
from headrace.receiver.refusals import Book
from headrace.receiver.refused import Refused
from headrace.receiver.who import Who


def test_the_book_counts_each_sender_and_forgets_the_oldest() -> None:
    book = Book()
    for number in range(150):
        book.note("malformed_body", "x" * 5000, Who(f"10.0.0.{number}", "agent\n" * 1000))
    book.note("malformed_body", "again", Who("10.0.0.60", "agent\n" * 1000))
    listed = book.listed()
    assert len(listed) == 100
    assert (listed[0]["who"]["address"], listed[0]["times"], listed[0]["said"]) == ("10.0.0.60", 2, "again")
    assert listed[1]["who"]["address"] == "10.0.0.149"
    assert len(json.dumps(listed)) < 100_000


@dataclass
class Asking:
    config: Config
    keys: Keys | None = None

    def status(self, address: str = "127.0.0.1", **headers: str) -> int:
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/refused", "headers": raw, "client": (address, 1)}
        return asyncio.run(Refused(self.config, self.keys).answer(Request(scope))).status_code


def test_without_keys_this_machine_may_know_or_a_trusted_network() -> None:
    asking = Asking(load())
    assert asking.status() == 200
    assert asking.status("::1") == 200
    assert asking.status("10.0.0.7") == 403
    for proxy in ("x_forwarded_for", "x_forwarded_proto", "forwarded", "via", "x_real_ip", "cf_connecting_ip"):
        assert asking.status(**{proxy: "203.0.113.7"}) == 403
    assert Asking(load(trusted_network=True)).status("10.0.0.7") == 200


@pytest.mark.parametrize(("experiments", "status"), [((), 200), (("1",), 403)])
def test_where_keys_are_a_key_without_a_limit_may_know(experiments: tuple[str, ...], status: int) -> None:
    key, secret = new_key("somebody", experiments)
    asking = Asking(load(), some_keys(key))
    assert asking.status(authorization=f"Bearer {secret}") == status
    assert asking.status() == 401
    assert asking.status(authorization="Bearer headrace_a_b") == 401
