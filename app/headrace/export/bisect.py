"""Writes one batch: all records that can be written are written, and each record that cannot is found.

The records of each signal are written by themselves, spans first. What fails is halved, again and again, until the record at
fault is alone. `Exporter.write` decides why a write failed:
because of an outage, or because of the batch.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from headrace.envelope import Delivery
from headrace.envelope.split import AnyDelivery, halves, set_apart, singles
from headrace.errors import PermanentExportError, StatementTimeout, WriteBroke
from headrace.export.exporter import Exporter, Writers
from headrace.export.rehearsal import MOST_SECONDS
from headrace.mlflow.write import Translated
from headrace.otlp.signals import SIGNALS, Signal
from headrace.rejected import Rejected
from headrace.store.dead_letters import DeadLetter
from headrace.telemetry.metrics import BATCHES_SPLIT

_Deliveries = Sequence[tuple[int, AnyDelivery]]
"""Deliveries of one signal, each with the index of its envelope in the batch."""

_TOO_LARGE = "It would take about {size} bytes in Postgres, over the limit of {limit}, 4 * HEADRACE_MAX_WRITE_BYTES."


class Export:
    """A batch of envelopes: what is still to be written, and the dead letters that were found so far.

    An outage interrupts `run`. The next call of `run` continues where the last one stopped, so committed records are neither
    written nor counted again. A new `Export` of the same envelopes would write and count them again; the rows would be the
    same.
    """

    def __init__(self, exporter: Exporter, envelopes: Sequence[bytes], refused: Sequence[str] = ()) -> None:
        """`refused[i]` says why `envelopes[i]` can never be written. Empty: it can, as far as is known."""
        self._exporter = exporter
        self._envelopes = envelopes
        self._refused = refused if any(refused) else ("",) * len(envelopes)
        self._translated: list[Translated[Any]] | None = None  # one for each signal
        self._translated_by: Writers | None = None
        self._committed: set[Signal] = set()
        self._left: list[_Deliveries] | None = None  # parts that are not written yet, the next one last; None: not begun
        self._letters: list[DeadLetter] = []

    def translate(self) -> None:
        """Does a part of `run` ahead of time, in another thread. It ignores every error: `run` will meet the error again and
        handle it."""
        if any(self._refused):
            return
        self._translated_by = self._exporter.writers
        self._translated = self._exporter.translate(self._envelopes)

    def run(self) -> list[DeadLetter]:
        """Writes all records that can be written. Returns dead letters with all others, in the order of the envelopes.

        Raises:
            DatabaseUnavailable, StartError: something is not written yet. Call `run` again later.
        """
        self._exporter.destinations.ask_again()
        if self._left is None:
            self._left = [] if self._commit_translated() else self._read()
            self._translated = None
        while self._left:
            parts = self._write(self._left[-1])
            self._left[-1:] = reversed(parts)
        return sorted(self._letters, key=lambda letter: letter.index)

    def _commit_translated(self) -> bool:
        """Tries to commit the whole batch as it was translated ahead. Returns whether that succeeded. If not, some record in it
        cannot be written, or MLflow's tables have changed and other writers write them now."""
        if self._translated is None or self._exporter.open() is not self._translated_by:
            return False
        whole = True
        while self._translated:  # what an outage interrupts stays in it
            if self._commit(self._translated[0]):
                self._committed.add(self._translated[0].deliveries[0].signal)
            else:
                whole = False
            self._translated.pop(0)
        return whole

    def _commit(self, translated: Translated[Any]) -> bool:
        try:
            self._exporter.commit(translated)
            return True
        except (PermanentExportError, StatementTimeout):
            pass  # something in it cannot be written: find out what; or all of it not at once
        except WriteBroke:
            if not self._exporter.rehearse(translated.deliveries, MOST_SECONDS):
                raise
        return False

    def _read(self) -> list[_Deliveries]:
        """What is not committed, as one part for each signal. No part if none of the envelopes can be read. The first to be
        written is the last in the list."""
        parts: dict[Signal, list[tuple[int, AnyDelivery]]] = {}
        for index, envelope in enumerate(self._envelopes):
            reason = self._refused[index]
            try:
                delivery = Delivery.from_envelope(envelope)
            except (DecodeError, ValueError) as error:
                self._letters.append(DeadLetter(index, envelope, None, reason or f"unreadable envelope: {error}"))
                continue
            if reason:
                self._letters += [DeadLetter(index, one.to_envelope(), one, reason) for one in singles(delivery)]
            elif delivery.signal not in self._committed:
                parts.setdefault(delivery.signal, []).append((index, delivery))
        return [parts[signal] for signal in reversed(SIGNALS) if signal in parts]

    def _write(self, deliveries: _Deliveries) -> Sequence[_Deliveries]:
        """Writes a part, or turns it into dead letters. Returns what is still to be written, as smaller parts."""
        size = self._exporter.weigh([delivery for _, delivery in deliveries])
        limit = self._exporter.max_bytes
        if size > limit and (smaller := _halves(deliveries)):
            return smaller
        if size > 4 * limit:
            self._letters.append(_letter(deliveries, _TOO_LARGE.format(size=size, limit=4 * limit)))
            return ()
        try:
            self._exporter.write([delivery for _, delivery in deliveries])
        except StatementTimeout:
            if smaller := _halves(deliveries):
                return smaller
            raise  # it was not the batch's size: Postgres is busy
        except PermanentExportError as error:
            return self._find(deliveries, error)
        return ()

    def _find(self, deliveries: _Deliveries, error: PermanentExportError) -> Sequence[_Deliveries]:
        """Handles a part that cannot be written. If the writer named the records at fault, they become dead letters. If not,
        the part is halved. A part that is a single record becomes a dead letter."""
        letters, others = self._set_apart(deliveries, error.rejected)
        if letters:
            self._letters += letters
            return [others] if others else ()
        if smaller := _halves(deliveries):
            return smaller
        self._letters.append(_letter(deliveries, str(error)))
        return ()

    def _set_apart(
        self, deliveries: _Deliveries, rejected: Sequence[Rejected]
    ) -> tuple[list[DeadLetter], list[tuple[int, AnyDelivery]]]:
        """Returns dead letters with the records that the writer named, and the deliveries without these records."""
        letters: list[DeadLetter] = []
        rest: list[tuple[int, AnyDelivery]] = []
        for number, (index, delivery) in enumerate(deliveries if rejected else ()):
            here = [each for each in rejected if each.delivery in (None, number)]
            experiment_ids = [known.experiment_id for known in self._exporter.destinations.fill(delivery).destinations]
            alone, others = set_apart(delivery, experiment_ids, here)
            letters += [DeadLetter(index, single.to_envelope(), single, reason) for single, reason in alone]
            if others.signal.form.resources_of(others.request):
                rest.append((index, others if alone else delivery))
        return letters, rest


def _halves(deliveries: _Deliveries) -> Sequence[_Deliveries]:
    """Halves a part: by requests or, if it is one request, by records. Empty if it is a single record."""
    if len(deliveries) > 1:
        middle = len(deliveries) // 2
        split: Sequence[_Deliveries] = (deliveries[:middle], deliveries[middle:])
    else:
        index, delivery = deliveries[0]
        split = [[(index, half)] for half in halves(delivery) or ()]
    if split:
        BATCHES_SPLIT.inc()
    return split


def _letter(deliveries: _Deliveries, reason: str) -> DeadLetter:
    """The dead letter for a part that is a single record."""
    ((index, delivery),) = deliveries
    return DeadLetter(index, delivery.to_envelope(), delivery, reason)
