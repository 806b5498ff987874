"""`headrace top` beside a real Headrace."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from conftest import Launcher, Running, free_port, wait_until

import otlp
from system.test_cli import run


def test_once_prints_the_road_and_ends(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    assert running.post(otlp.request(otlp.span()).SerializeToString(), x_mlflow_experiment_id="0").status_code == 200
    assert running.post(b"nonsense").status_code == 400
    wait_until(running.drained)
    done = run("top", "--once", "--interval", "0.1", "--url", running.url, HEADRACE_UI_PORT=str(free_port()))
    assert done.returncode == 0, done.stderr
    for text in (
        running.url,
        "1 spans",
        "1 requests: 1 malformed body",
        "0 requests   0 B",
        "does not answer at http",
        "answers",
    ):
        assert text in done.stdout
    assert "was refused" in done.stdout  # this machine is told who


def test_nobody_answers(tmp_path: Path) -> None:
    done = run("top", HEADRACE_HTTP_PORT=str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    for text in ("No Headrace answers at http://127.0.0.1:", "refused", "headrace doctor", "--url"):
        assert text in done.stderr
    assert "--ca" in run("top", "--ca", str(tmp_path / "none.pem")).stderr
    assert "is no http URL" in run("top", "--url", "ftp://x").stderr


def test_another_program_is_not_taken_for_headrace(up: Running) -> None:
    assert "No Headrace answers" in run("top", "--once", "--url", up.ui_url).stderr


def test_it_says_when_headrace_answers_no_more_and_ends_on_ctrl_c(headrace: Launcher, database_url: str) -> None:
    running = headrace(database_url=database_url)
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    command = [sys.executable, "-m", "headrace", "top", "--interval", "0.1", "--url", running.url]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings) as top:
        try:
            screen = Screen(ours)
            wait_until(lambda: "takes spans" in screen.read(), 60)
            running.kill()
            wait_until(lambda: "No answer for" in screen.read(), 60)
            top.send_signal(2)
            wait_until(lambda: screen.read() is not None and top.poll() is not None, 30)
        finally:
            top.kill()
    assert top.returncode == 0
    assert "Traceback" not in screen.read()


class Screen:
    """All that a program has written to a terminal."""

    def __init__(self, file: int) -> None:
        self._file, self._text = file, b""

    def read(self) -> str:
        """Without colours and movements."""
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and select.select([self._file], [], [], 0)[0]:
            self._text += os.read(self._file, 65_536)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._text.decode(errors="replace"))
