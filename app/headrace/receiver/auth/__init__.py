"""API keys: a file of hashed keys, and who of them sent a request.

A key is `headrace_<id>_<secret>`; the file keeps SHA-256 of the secret, which is enough for 256 random bits (a slow hash is for
passwords that people choose). The file is read again when it changes, so `headrace keys` needs no restart.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from cachetools import LRUCache
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.errors import RateLimited, StartError, Unauthenticated
from headrace.receiver.limits import Bucket
from headrace.telemetry.logging import log, log_rarely
from headrace.telemetry.metrics import AUTH_FAILURES

_PREFIX = "headrace"
_RELOAD_SECONDS = 1.0
_FAILURES_PER_SECOND = 1.0
_FAILURE_BURST_SECONDS = 20.0
_MAX_ADDRESSES = 10_000
"""Addresses that sent no good key are remembered, some 4 MB. The one that was quiet for longest is forgotten first."""
_NO_DIGEST = hashlib.sha256(b"").hexdigest()

HOW_TO_SEND = (
    "Send it in OTEL_EXPORTER_OTLP_TRACES_HEADERS as authorization=Bearer%20<key> (or x-api-key=<key>), after a comma where "
    "other headers are there; SDKs read OTEL_EXPORTER_OTLP_HEADERS only where that one is not set."
)


class Key(BaseModel):
    """One API key as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    sha256: str
    created: datetime
    expires: datetime | None = None
    experiments: tuple[str, ...] = ()
    """Ids or names; empty: all."""
    spans_per_second: float | None = Field(None, gt=0)
    bytes_per_second: float | None = Field(None, gt=0)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(timezone.utc)


class _File(BaseModel):
    keys: list[Key] = []


class Keys:
    """The keys of one file.

    Raises:
        StartError: it is missing, or cannot be read or written; only from `open` and the commands, never while serving.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, Key] = {}
        self._version: tuple[int, int] | None = None
        self._checked = 0.0
        self._failures: MutableMapping[str, Bucket] = LRUCache(_MAX_ADDRESSES)

    @classmethod
    def open(cls, path: Path) -> "Keys":
        """The keys of a file that must be there."""
        if not path.is_file():
            raise StartError(f"HEADRACE_API_KEYS: {path} is missing. Make the first key with `headrace keys add NAME`.")
        keys = cls(path)
        keys.read()
        return keys

    def read(self) -> list[Key]:
        """All keys of the file; none where it is missing."""
        try:
            stat = self._path.stat()
            self._keys = {key.id: key for key in _File.model_validate_json(self._path.read_bytes()).keys}
            self._version = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            self._keys = {}
        except (OSError, ValidationError) as error:
            raise StartError(f"The file of API keys, {self._path}, cannot be read: {type(error).__name__}.") from None
        return list(self._keys.values())

    def add(self, key: Key) -> None:
        """Adds a key to the file."""
        with self._changing():
            self._write([*self.read(), key])

    def revoke(self, name_or_id: str) -> list[Key]:
        """Takes the keys of this name or id out of the file, and returns them."""
        with self._changing():
            revoked = [key for key in self.read() if name_or_id in (key.id, key.name)]
            if revoked:
                self._write([key for key in self._keys.values() if key not in revoked])
        return revoked

    def authenticate(self, headers: Mapping[str, str], address: str) -> Key:
        """The key that a request was sent with. `headers` have lower-case keys.

        Raises:
            Unauthenticated: there is none, or none that counts. RateLimited: too many of those from this address.
        """
        sent = _sent(headers)
        if not sent:
            raise self._failed("missing", address, f"Headrace asks for an API key, and the request has none. {HOW_TO_SEND}")
        self._reload(_RELOAD_SECONDS)
        key = self._find(sent)
        if key is None:
            self._reload(0)  # it may have been made a moment ago
            key = self._find(sent)
        if key is None:
            raise self._failed("unknown", address, f"The API key is unknown or was revoked. {HOW_TO_SEND}")
        if key.expired:
            raise self._failed(
                "expired", address, f"The API key {key.name!r} has expired: make a new one with `headrace keys add`."
            )
        return key

    def _find(self, sent: str) -> Key | None:
        _, _, rest = sent.partition("_")
        id_, _, secret = rest.partition("_")
        key = self._keys.get(id_)
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        return key if hmac.compare_digest(digest, key.sha256 if key else _NO_DIGEST) else None

    def _failed(self, reason: str, address: str, message: str) -> Exception:
        """A good key is always let through, whatever others behind the same address (a proxy, say) send."""
        AUTH_FAILURES.labels(reason).inc()
        bucket = self._failures.get(address)
        if bucket is None:
            bucket = self._failures[address] = Bucket(_FAILURES_PER_SECOND, _FAILURE_BURST_SECONDS)
        if bucket.wait() > 0:
            return RateLimited("Too many requests without a good API key from this address.", 5)
        bucket.take(1)
        return Unauthenticated(message)

    def _reload(self, seconds: float) -> None:
        """Reads the file again if it has changed, and was not looked at for as long."""
        now = time.monotonic()
        if now - self._checked < seconds:
            return
        self._checked = now
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._version:
                self.read()
                log.info("API keys read again", keys=len(self._keys))
        except Exception as error:  # whatever is wrong with the file, those who have a key go on sending
            self._version = None
            log_rarely("API keys cannot be read, those known stay valid", "api_keys", error=str(error))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One command at a time: of two that read the same file, the second would drop the key of the first."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX)
                yield
            finally:
                os.close(directory)
        except OSError as error:
            raise StartError(f"The file of API keys, {self._path}, cannot be written: {error.strerror}.") from None

    def _write(self, keys: list[Key]) -> None:
        """Replaces the file in one step. A new one is its owner's only; one that was there stays whose it was, as it is
        often root who adds a key, and another user who serves."""
        path = self._path.resolve()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_File(keys=keys).model_dump_json(indent=2, exclude_none=True) + "\n")
                file.flush()
                with suppress(FileNotFoundError, PermissionError):
                    before = path.stat()
                    os.fchmod(handle, before.st_mode & 0o777)
                    os.fchown(handle, before.st_uid, before.st_gid)
                os.fsync(handle)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def new_key(
    name: str,
    experiments: tuple[str, ...] = (),
    expires: datetime | None = None,
    spans_per_second: float | None = None,
    bytes_per_second: float | None = None,
) -> tuple[Key, str]:
    """A key for the file, and the text to be given to its user, which is kept nowhere."""
    id_, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = Key(
        id=id_,
        name=name,
        sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created=datetime.now(timezone.utc).replace(microsecond=0),
        expires=expires,
        experiments=experiments,
        spans_per_second=spans_per_second,
        bytes_per_second=bytes_per_second,
    )
    return key, f"{_PREFIX}_{id_}_{secret}"


def _sent(headers: Mapping[str, str]) -> str:
    """The key as exporters send it: Bearer, `api_key` and its spellings, or the password of Basic, as MLflow's clients do."""
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:  # of base64, of UTF-8
            return ""
    return next((headers[name].strip() for name in ("x-api-key", "api_key", "api-key") if headers.get(name)), "")
