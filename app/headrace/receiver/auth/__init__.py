"""API keys: the file of hashed keys, and which key a request was sent with.

A key is `headrace_<id>_<secret>`. The file keeps the SHA-256 of the secret. That is enough for 256 random bits; slow hashes are
for passwords that people choose. The file is read again when it changes, so `headrace keys` needs no restart.
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

from headrace.config import problems
from headrace.envelope.incoming import said_once
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
    "Send it in OTEL_EXPORTER_OTLP_TRACES_HEADERS as authorization=Bearer%20<key> (or x-api-key=<key>); commas separate "
    "several headers. While that variable is set, SDKs do not read OTEL_EXPORTER_OTLP_HEADERS."
)


class Key(BaseModel):
    """One API key as the file keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    sha256: str
    created: datetime
    expires: datetime | None = None
    experiments: tuple[str, ...] = ()
    """The experiments that it may write to: ids, which have digits only, or names. Empty: all."""
    spans_per_second: float | None = Field(None, gt=0)
    bytes_per_second: float | None = Field(None, gt=0)

    @property
    def expired(self) -> bool:
        """Whether its time of expiry has passed."""
        return self.expires is not None and self.expires <= datetime.now(timezone.utc)


class _File(BaseModel):
    keys: list[Key] = []


class Keys:
    """The keys of one file.

    Raises:
        StartError: the file is missing, or cannot be read or written. `authenticate` never raises it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, Key] = {}
        self._version: tuple[int, int] | None = None
        self._checked = 0.0
        self._failures: MutableMapping[str, Bucket] = LRUCache(_MAX_ADDRESSES)

    @classmethod
    def open(cls, path: Path) -> "Keys":
        """Reads a file, which must exist."""
        if not path.is_file():
            raise StartError(f"HEADRACE_API_KEYS: {path} is missing. Make the first key with `headrace keys add NAME`.")
        keys = cls(path)
        keys.read()
        return keys

    def read(self) -> list[Key]:
        """Reads and returns all keys of the file; none if it is missing."""
        try:
            stat = self._path.stat()
            self._keys = {key.id: key for key in _File.model_validate_json(self._path.read_bytes()).keys}
            self._version = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            self._keys = {}
        except OSError as error:
            raise StartError(f"The file of API keys, {self._path}, cannot be read: {error.strerror}.") from None
        except ValidationError as error:
            wrong = "; ".join(problems(error, _File, {"keys": '"keys"'}, "key"))
            raise StartError(f"The file of API keys, {self._path}, is not valid: {wrong}.") from None
        return list(self._keys.values())

    def add(self, key: Key) -> None:
        """Adds a key to the file."""
        with self._changing():
            self._write([*self.read(), key])

    def revoke(self, name_or_id: str) -> list[Key]:
        """Removes the keys with this name or id from the file, and returns them."""
        with self._changing():
            revoked = [key for key in self.read() if name_or_id in (key.id, key.name)]
            if revoked:
                self._write([key for key in self._keys.values() if key not in revoked])
        return revoked

    def authenticate(self, headers: Mapping[str, str], address: str) -> Key:
        """A request's headers, with lower-case names, and its client's address → the key that it was sent with.

        Raises:
            Unauthenticated: it has no key, or one that is unknown, revoked or expired.
            RateLimited: this address sent too many such requests.
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
        """The error for a request without a good key. The limit for its address counts only such requests: a good key always
        passes, whatever others behind the same address, such as a proxy, send."""
        AUTH_FAILURES.labels(reason).inc()
        bucket = self._failures.get(address)
        if bucket is None:
            bucket = self._failures[address] = Bucket(_FAILURES_PER_SECOND, _FAILURE_BURST_SECONDS)
        if bucket.wait() > 0:
            return RateLimited("Too many requests without a good API key from this address.", 5)
        bucket.take(1)
        return Unauthenticated(message)

    def _reload(self, seconds: float) -> None:
        """Reads the file again if it has changed. Does not look at it more often than once in so many seconds."""
        now = time.monotonic()
        if now - self._checked < seconds:
            return
        self._checked = now
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._version:
                self.read()
                log.info("API keys read again", keys=len(self._keys))
        except Exception as error:  # whatever is wrong with the file, the keys read before stay valid
            self._version = None
            log_rarely("API keys cannot be read, those known stay valid", "api_keys", error=str(error))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Locks the file for one command. Otherwise two commands could read it at once, and the second to write would undo the
        first."""
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
        """Replaces the file in one step. A new file is readable by its owner only. A file that existed keeps its owner and
        mode: often root adds a key, and another user runs the server."""
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
    """Makes a key. Returns it as the file keeps it, and the text for its user, which is stored nowhere."""
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
    """The key's text in the headers: of Bearer, of `x-api-key` and its spellings, or the password of Basic, which MLflow's
    clients send. Empty if there is none."""
    scheme, _, value = said_once(headers.get("authorization", "")).partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:  # of base64, of UTF-8
            return ""
    return next((said_once(headers[name]) for name in ("x-api-key", "api_key", "api-key") if headers.get(name)), "")
