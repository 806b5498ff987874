"""Writes dead letters again, in the same way as the worker writes requests (`bisect.py`)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from headrace.envelope import envelope_pb2 as pb
from headrace.errors import StartError
from headrace.export.bisect import Export
from headrace.export.exporter import Exporter
from headrace.mlflow.experiments import Experiments
from headrace.processor.route import Route
from headrace.store.database import Database
from headrace.store.dead_letters import batch, settle
from headrace.store.letter_selection import Selection


class Progress(NamedTuple):
    """The number of letters of one batch that were written and deleted, and the letters that failed again and are kept."""

    written: int
    failed: list[int]


def replay(
    database: Database, exporter: Exporter, selection: Selection, to: pb.Destination | None, max_bytes: int
) -> Iterator[Progress]:
    """Writes the letters, oldest first, in batches of about `max_bytes`; into another experiment where `to` names one.

    A letter is deleted after it is written: whoever is killed in between writes it again the next time, which changes nothing.

    Raises:
        DatabaseUnavailable, StartError: what is not written is kept.
    """
    exporter.open()
    last = 0
    while letters := batch(database, selection, last, max_bytes):
        envelopes = [envelope if to is None else redirect(envelope, to) for _, envelope in letters]
        export = Export(exporter, envelopes)
        export.translate()
        refused = export.run()
        failed = {letters[letter.index][0]: letter.reason for letter in refused}
        settle(database, [id_ for id_, _ in letters if id_ not in failed], failed)
        yield Progress(len(letters) - len(failed), list(failed))
        last = letters[-1][0]


def destination(database: Database, experiment: str) -> pb.Destination:
    """Finds an existing experiment by its id or its name. If the text could be both, the id wins.

    Raises:
        StartError: there is no such experiment. DatabaseUnavailable: Postgres is away.
    """
    experiments = Experiments(database, create=False, cache_seconds=1)
    by_id = [Route(int(experiment), "", pb.ROUTED_BY_HEADER)] if re.fullmatch(r"[0-9]{1,9}", experiment) else []
    for route in (*by_id, Route(None, experiment, pb.ROUTED_BY_HEADER)):
        if isinstance(id_ := experiments.look_up_all([route])[route], int):
            return pb.Destination(experiment_id=str(id_), experiment_name=route.name, routed_by=route.routed_by)
    raise StartError(f"MLflow has no experiment with the id or name {experiment!r}: create it in MLflow first.")


def redirect(envelope: bytes, to: pb.Destination) -> bytes:
    """The envelope with another destination for all of its spans. An envelope that cannot be read stays as it is: the exporter
    will report it. Metrics go to their run all the same."""
    try:
        message = pb.Envelope.FromString(envelope)
    except DecodeError:
        return envelope
    if message.signal == pb.SIGNAL_METRICS:
        return envelope  # they go to a run, wherever that stands
    for destination in message.destinations:
        destination.CopyFrom(to)
    return message.SerializeToString()
