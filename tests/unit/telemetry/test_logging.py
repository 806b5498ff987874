"""Where the log goes."""

import logging
from io import StringIO
from unittest.mock import patch

from headrace.telemetry.logging import _ToStderr


def test_an_event_goes_to_the_stderr_of_its_time() -> None:
    """Rich puts its own there while a line of progress stands in a terminal: an event went into the middle of that line."""
    handler = _ToStderr()
    with patch("sys.stderr", StringIO()) as rich:
        handler.handle(logging.makeLogRecord({"msg": "an event"}))
    assert rich.getvalue() == "an event\n"
