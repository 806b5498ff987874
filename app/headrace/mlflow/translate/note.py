"""Further keys of a span's note: how the stored attributes differ from those that were sent. See `origin.py`. No I/O."""

from functools import lru_cache
from typing import Any

from headrace.mlflow.json_text import dumps
from headrace.mlflow.keys import REQUEST_ID


@lru_cache(maxsize=1024)
def note_of_keys(added: tuple[str, ...], texts: tuple[str, ...] = ()) -> str:
    """Further keys of the note where no value was replaced."""
    named = {"added": added, "texts": texts}
    return "".join(f', "{name}": {dumps(keys)}' for name, keys in named.items() if keys)


def note_of(sent: dict[str, str], texts: dict[str, str], attributes: dict[str, Any]) -> str:
    """How the stored attributes differ from those that were sent: see `origin.py`. `texts`: their `inner_texts`."""
    added = [key for key in attributes if key not in sent and key != REQUEST_ID]
    replaced: dict[str, str] = {}
    if (request_id := sent.get(REQUEST_ID)) is not None:
        replaced[REQUEST_ID] = request_id
    unquoted_keys = []
    for key, value in sent.items():
        if (now := attributes.get(key)) is not value and now != value:
            if texts.get(key) == now:
                unquoted_keys.append(key)
            else:
                replaced[key] = value
    note = note_of_keys(tuple(added), tuple(unquoted_keys))
    return f'{note}, "sent": {dumps(replaced)}' if replaced else note
