"""gRPC's health service. It tells what `/readyz` tells: whether requests can be accepted.

Source: gRPC Health Checking Protocol (https://github.com/grpc/grpc/blob/master/doc/health-checking.md). Its two messages
have one field each. Headrace reads them with a definition of its own with the same fields: proto/headrace/v1/health.proto.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from headrace.config import Config
from headrace.errors import MalformedBody
from headrace.otlp.compression import inflate
from headrace.queue import Queue
from headrace.receiver.answers import status
from headrace.receiver.grpc.call import OneMessage
from headrace.receiver.grpc.health_pb2 import HealthCheckRequest, HealthCheckResponse
from headrace.receiver.grpc.stream import Stream
from headrace.receiver.health import refusal

_LOOK_SECONDS = 1.0
_MAX_REQUEST_BYTES = 1024


class Health:
    """The state of the `services`: either all of them can be used, or none."""

    def __init__(self, queue: Queue, services: Collection[str]) -> None:
        self._queue = queue
        self._services = services
        self.stopping = False

    def status(self, service: str) -> HealthCheckResponse.ServingStatus:
        """The state of one service. The empty name stands for the whole server."""
        if service not in self._services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        ready = not self.stopping and not refusal(self._queue)
        return HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING


class States(Protocol):
    """Knows the states of services."""

    stopping: bool

    def status(self, service: str) -> HealthCheckResponse.ServingStatus:
        """See `Health.status`."""


class _Asking(OneMessage):
    """A call that asks for the state of one service."""

    def __init__(self, stream: Stream, metadata: Mapping[str, str], config: Config, health: States) -> None:
        super().__init__(stream, metadata, config)
        self._health = health

    def take(self, size: int) -> None:
        """See `OneMessage.take`."""
        if len(self._body) + size > _MAX_REQUEST_BYTES:
            raise MalformedBody(f"The HealthCheckRequest is over {_MAX_REQUEST_BYTES} bytes: send a shorter name.")

    @staticmethod
    def service(message: bytes, compression: str) -> str:
        """The message → the name of the service in it."""
        try:
            return HealthCheckRequest.FromString(inflate(message, compression, _MAX_REQUEST_BYTES)).service
        except DecodeError as error:
            raise MalformedBody(f"The message is not a HealthCheckRequest: {error}.") from None


class Check(_Asking):
    """`Health/Check`: answers the state of now."""

    async def serve(self, message: bytes, compression: str) -> None:
        """See `OneMessage.serve`."""
        service = self.service(message, compression)
        if (now := self._health.status(service)) == HealthCheckResponse.SERVICE_UNKNOWN:
            self.finish(status(code_pb2.NOT_FOUND, f"There is no service {service[:200]!r} here."))
        else:
            self.reply(HealthCheckResponse(status=now).SerializeToString())


class Watch(_Asking):
    """`Health/Watch`: answers the state of now, and each change, until the client ends the call."""

    serves_on_alone = False

    async def serve(self, message: bytes, compression: str) -> None:
        """See `OneMessage.serve`."""
        service, last = self.service(message, compression), None
        while not self._health.stopping or last is None:
            if (now := self._health.status(service)) != last:
                last = now
                self.reply(HealthCheckResponse(status=now).SerializeToString())
            await asyncio.sleep(_LOOK_SECONDS)
