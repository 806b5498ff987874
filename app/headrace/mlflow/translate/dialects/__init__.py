"""What agent frameworks say in attributes of their own: tables of rules, read by one engine.

    shipped/*.yaml, HEADRACE_DIALECTS ─ read ─► table ─► engine: which rules a span asks for, what they find
                                                           └─► settle: attributes of the span

MLflow's own translators run first (`translate/genai.py`). docs/frameworks.md describes the format of the tables.
"""

from functools import lru_cache
from pathlib import Path

from headrace.mlflow.translate.dialects.engine import Dialects
from headrace.mlflow.translate.dialects.read import read_file, shipped


@lru_cache(maxsize=4)
def known(file: Path | None = None) -> Dialects:
    """The dialects that come with Headrace, and before them those of a user's file.

    Raises:
        StartError: the file cannot be read, or something in it is wrong.
    """
    own = read_file(file) if file else ()
    names = {dialect.name for dialect in own}
    return Dialects((*own, *(dialect for dialect in shipped() if dialect.name not in names)))
