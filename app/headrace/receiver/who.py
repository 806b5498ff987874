"""Who sent a request, in the words of the log. No I/O."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from starlette.types import Scope

from headrace.otlp.readable import ReadableResource

_MAX_TEXT = 200
_MAX_SERVICES = 3


@dataclass(slots=True)
class Who:
    """A client's IP address, its user agent, its API key's name, and the services of its request. Each is empty until it is
    known."""

    address: str = ""
    user_agent: str = ""
    key: str = ""
    service: str = ""

    @classmethod
    def of_scope(cls, scope: Scope, headers: Mapping[str, str]) -> "Who":
        """Who sent an HTTP request: its ASGI scope, and its headers by lower-case name."""
        return cls((scope.get("client") or ("",))[0], headers.get("user-agent", ""))

    def fields(self) -> dict[str, str]:
        """What is known, as fields for the log: in one line, and at most 200 characters each."""
        known = {"address": self.address, "user_agent": self.user_agent, "key": self.key, "service": self.service}
        return {name: _printable(value) for name, value in known.items() if value}


def services_of(resources: Iterable[ReadableResource]) -> str:
    """The first three different `service.name` of these resources, separated by commas."""
    return ", ".join(list(dict.fromkeys(_names(resources)))[:_MAX_SERVICES])


def _names(resources: Iterable[ReadableResource]) -> Iterator[str]:
    for resource in resources:
        for attribute in resource.attributes:
            if attribute.key == "service.name" and (name := attribute.value.string_value):
                yield name


def _printable(value: str) -> str:
    """The text without characters that could control a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in value[:_MAX_TEXT])
