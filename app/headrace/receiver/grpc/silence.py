"""What a connection's client does not do in time: the timers of one connection, and the PINGs that ask whether it is there."""

import asyncio
from collections.abc import Callable

_PING_SECONDS, _PONG_SECONDS = 60.0, 20.0


class Timers:
    """The timers of one connection, by name."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self, name: str, seconds: float, then: Callable[[], None]) -> None:
        """Calls `then` after `seconds`. Replaces the timer that has the same name."""
        self.cancel(name)
        self._timers[name] = self._loop.call_later(seconds, then)

    def cancel(self, name: str) -> None:
        """Stops a timer, if it is there."""
        if timer := self._timers.pop(name, None):
            timer.cancel()

    def cancel_all(self) -> None:
        """Stops all timers: the connection is lost."""
        for name in list(self._timers):
            self.cancel(name)


class Pings:
    """Sends a PING to a client that is silent, and gives it up if it stays silent. `heard` is set whenever bytes come."""

    def __init__(self, timers: Timers, ping: Callable[[], None], give_up: Callable[[], None]) -> None:
        self.heard = False
        self._timers = timers
        self._ping = ping
        self._give_up = give_up

    def start(self) -> None:
        """Waits for the next silence. Replaces whatever else waits for the client to speak."""
        self._timers.start("silent", _PING_SECONDS, self._ask)

    def _ask(self) -> None:
        if self.heard:
            self.heard = False
            self.start()
            return
        self._ping()
        self._timers.start("silent", _PONG_SECONDS, self._end)

    def _end(self) -> None:
        if self.heard:
            self._ask()
        else:
            self._give_up()
