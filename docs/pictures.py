"""Pictures of what Headrace prints, from a real run: `python docs/pictures.py` writes docs/images/terminal-*.svg.

It needs the ports of `headrace up` free. Each command runs in a terminal of its own, so that it prints colours; what the
terminal shows at the end is drawn by Rich. The pages of MLflow and of the console are photographs, and not made here.
"""

import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from fcntl import ioctl
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
HEADRACE = ".venv/bin/headrace"
DATA = Path("/tmp/headrace")  # noqa: S108 - a short path, as the panel shows it
_WIDTH, _HEIGHT = 116, 60
_SECONDS = 120
_PANEL = "Point a service at it"
"""The last that `up` prints once all answers. A picture shows a second start."""
_CONTROL = re.compile(r"\x1b\[(\?\d+[hl]|\d*[AK])|\x1b\]8;[^\x1b]*\x1b\\")


class Terminal:
    """A command in a terminal. `screen()`: what it has printed so far, as lines with their colours."""

    def __init__(self, *arguments: str) -> None:
        self._shown = bytearray()
        outside, inside = pty.openpty()
        ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, _WIDTH, 0, 0))
        settings = {**os.environ, "HEADRACE_DATA_DIR": str(DATA), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [HEADRACE, *arguments], cwd=ROOT, env=settings, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        self._reader = threading.Thread(target=self._read, args=(outside,), daemon=True)
        self._reader.start()

    def screen(self) -> list[str]:
        """Lines; the escape sequences of colours stay."""
        lines, row = [""], 0
        for line in self._shown.decode(errors="replace").replace("\r\n", "\n").split("\n"):
            for part in line.split("\r"):
                row = max(0, row - sum(int(up or 1) for up in re.findall(r"\x1b\[(\d*)A", part)))
                text = _CONTROL.sub("", part)
                if text or "\x1b[2K" in part:
                    lines[row] = text
            row += 1
            lines[row:] = lines[row + 1 :] if row < len(lines) else []
            lines.insert(row, "")
        return lines

    def wait_for(self, text: str) -> None:
        """Until it has printed this."""
        deadline = time.monotonic() + _SECONDS
        while text not in "\n".join(self.screen()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("\n".join(self.screen()))
            time.sleep(0.1)

    def end(self, number: int | None = None) -> list[str]:
        """Waits until it has ended, by a signal if one is given. Returns the screen."""
        if number is not None:
            self.process.send_signal(number)
        self.process.wait(_SECONDS)
        self._reader.join()
        return self.screen()

    def _read(self, outside: int) -> None:
        try:
            while said := os.read(outside, 65_536):
                self._shown += said
        except OSError:  # the other end is closed
            os.close(outside)


def main() -> None:
    """All pictures, in the order in which a newcomer sees them."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(mode=0o711)
    draw("doctor-failing", ["doctor"], Terminal("doctor").end())
    first = Terminal("up")
    first.wait_for(_PANEL)
    first.end(signal.SIGTERM)
    up = Terminal("up")
    try:
        up.wait_for(_PANEL)
        draw("up", ["up"], up.screen())
        draw("demo", ["demo"], Terminal("demo").end())
        draw("doctor", ["doctor"], Terminal("doctor").end())
        sender = Terminal("demo", "--rate", "120", "--duration", "20")
        time.sleep(15)  # what is shown are rates
        draw("top", ["top"], Terminal("top", "--once", "--interval", "3").end())
        sender.end()
    finally:
        up.end(signal.SIGTERM)


def draw(name: str, arguments: Sequence[str], lines: Sequence[str]) -> None:
    """Writes one picture: the command, and what it printed."""
    text = "\n".join(line.rstrip() for line in lines).strip("\n")
    console = Console(record=True, width=_WIDTH, file=StringIO(), color_system="truecolor", legacy_windows=False)
    console.print(Text.assemble(("$ ", "dim"), ("headrace " + " ".join(arguments), "bold")))
    console.print(Text.from_ansi(f"{text}\n "))
    svg = console.export_svg(title="", unique_id=f"headrace-{name}")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # its fonts are another host's
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    (IMAGES / f"terminal-{name}.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
    print(f"docs/images/terminal-{name}.svg", file=sys.stderr)


if __name__ == "__main__":
    main()
