"""What the threads share that keep house beside the worker: the finisher, the joiner, the pruner and the retainer."""

from abc import ABC, abstractmethod

from headrace.errors import HeadraceError
from headrace.mlflow.loading import load_mlflow
from headrace.mlflow.schema import known_shape
from headrace.mlflow.shape.needs import Shape
from headrace.parts import PartThread
from headrace.store.database import Database


class Housekeeper(ABC):
    """A thread that takes a turn again and again: `first_seconds` after the start, and then each `pause_seconds`.

    A turn that could not be taken, because Postgres is away, is tried again after `first_seconds`. There is no turn while
    MLflow's own store writes, because the schema is not one that we know.
    """

    def __init__(self, name: str, database: Database, first_seconds: float, pause_seconds: float) -> None:
        self._database = database
        self._first_seconds = first_seconds
        self._pause_seconds = pause_seconds
        self._shape: Shape | None = None  # that of the tables, at this turn
        self._thread = PartThread(name, self._run)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the transaction in progress."""
        self._thread.stop()

    def _run(self) -> None:
        pause = self._first_seconds
        while not self._rests(pause):
            try:
                self._shape = known_shape(self._database)
                if self._shape is not None:
                    load_mlflow()
                    self._turn()
                pause = self._pause_seconds
            except HeadraceError as error:
                pause = self._first_seconds
                self._put_off(error)

    def _rests(self, seconds: float) -> bool:
        """Waits for so long, or until the thread has to stop. Returns whether it has to."""
        return self._thread.stopping.wait(seconds)

    @abstractmethod
    def _turn(self) -> None:
        """Does what is to be done now, in small transactions. It ends early if the thread has to stop."""

    @abstractmethod
    def _put_off(self, error: HeadraceError) -> None:
        """Logs that the turn could not be taken."""
