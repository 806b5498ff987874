"""`GET /refused`: who was refused of late. It names addresses and keys, so it is not for everybody."""

import os

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace.config import Config
from headrace.config.listen import is_loopback
from headrace.errors import HeadraceError, PermissionDenied
from headrace.otlp.codec import Encoding
from headrace.receiver.auth import Keys
from headrace.receiver.http import failure
from headrace.receiver.refusals import BOOK
from headrace.receiver.who import Who

_PROXY = ("forwarded", "x-real-ip", "via", "true-client-ip", "cf-connecting-ip", "x-client-ip")
"""Headers of a proxy, as all that begin with `x-forwarded`: what comes from this machine's own address is not of this machine
then."""


class Refused:
    """The route. Where keys are asked for, a key without a limit may see it; else this machine, or a trusted network."""

    def __init__(self, config: Config, keys: Keys | None) -> None:
        self._config = config
        self._keys = keys

    async def answer(self, request: Request) -> Response:
        """The refusals of this process, and how many processes there are."""
        address = request.client.host if request.client else ""
        try:
            self._check(request, address)
        except HeadraceError as error:
            return failure(error, Encoding.JSON, who=Who.of_scope(request.scope, request.headers))
        told = {"process": os.getpid(), "processes": self._config.workers, "refused": BOOK.listed()}
        return JSONResponse(told, headers={"cache-control": "no-store"})

    def _check(self, request: Request, address: str) -> None:
        if self._keys is not None:
            if self._keys.authenticate(request.headers, address).experiments:
                raise PermissionDenied("Only a key that may write to all experiments may ask who was refused.")
        elif not (self._config.trusted_network or self._is_here(request, address)):
            raise PermissionDenied("Without API keys, only this machine may ask who was refused.")

    @staticmethod
    def _is_here(request: Request, address: str) -> bool:
        proxied = any(name in _PROXY or name.startswith("x-forwarded") for name in request.headers)
        return is_loopback(address) and not proxied
