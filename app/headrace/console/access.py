"""Which experiments a request may read: those of its key, and of these the ones that it names."""

from collections.abc import Mapping

from headrace.envelope.limit import MAX_ID, Limit, is_id
from headrace.reader import Experiment, Experiments, TraceReader
from headrace.receiver.auth import Keys

NAMING = ("x-tenant", "x-mlflow-experiment-id", "x-mlflow-experiment-name")
"""Headers that name one experiment, by id or by name. Jaeger sends its tenant in `x-tenant` unless told otherwise."""
_JAEGERS_KEY = "bearer.token"
"""Where Jaeger puts the key of a request's `authorization: Bearer`, which it passes on (`bearer_token_propagation`)."""
_MAX_DIGITS = len(str(MAX_ID))


class Access:
    """Says what a request may read. `keys`: None if no key is asked for."""

    def __init__(self, keys: Keys | None) -> None:
        self._keys = keys

    def admit(self, headers: Mapping[str, str], address: str) -> Limit | None:
        """A request's headers, with lower-case names → the limit of its key. None: there is none.

        Raises:
            Unauthenticated, RateLimited: see `Keys.authenticate`.
        """
        if self._keys is None:
            return None
        if _JAEGERS_KEY in headers and "authorization" not in headers:
            headers = {**headers, "authorization": f"Bearer {headers[_JAEGERS_KEY]}"}
        return Limit.of(self._keys.authenticate(headers, address).experiments)


def named(headers: Mapping[str, str]) -> list[str]:
    """The experiments that headers name."""
    return [headers[name].strip() for name in NAMING if headers.get(name, "").strip()]


def readable(reader: TraceReader, limit: Limit | None, names: list[str]) -> Experiments:
    """The experiments that a key with this limit may read and that have all of these names or ids. None: all.

    A name that no experiment has leaves nothing to read.
    """
    if limit is None and not names:
        return None
    by_name = (limit is not None and limit.names) or any(not is_id(name) for name in names)
    known = reader.experiments() if by_name else []
    found = None if limit is None else limit.ids | {each.id for each in known if each.name in limit.names}
    for name in names:
        ids = _ids(known, name)
        found = ids if found is None else found & ids
    return found


def _ids(known: list[Experiment], name: str) -> frozenset[int]:
    if is_id(name):
        return frozenset([int(name)] if len(name) <= _MAX_DIGITS and int(name) <= MAX_ID else ())
    return frozenset(each.id for each in known if each.name == name)
