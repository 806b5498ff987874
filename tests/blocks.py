"""The blocks of code in a page of the documentation, and how they are run."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEADING = re.compile(r"#+ (.*)")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """One block."""

    heading: str
    language: str
    code: str
    not_run: str
    """Why it is not run; empty: it is."""


def blocks(page: str) -> Iterator[Block]:
    """Those of a page, `docs/recipes.md`, in their order."""
    heading, language, reason = "", "", ""
    code: list[str] | None = None
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```") and code is None:
            language, code = line[3:], []
        elif line.startswith("```") and code is not None:
            yield Block(heading, language, "\n".join(code), reason)
            code, reason = None, ""
        elif code is not None:
            code.append(line)
        elif said := _HEADING.fullmatch(line):
            heading = said[1]
        elif said := _NOT_RUN.fullmatch(line):
            reason = said[1]


def exported(code: str) -> dict[str, str]:
    """What a block of shell exports."""
    done = subprocess.run(["bash", "-ec", f"{code}\nenv -0"], env={}, capture_output=True, text=True, check=True)
    pairs = (each.partition("=") for each in done.stdout.split("\0") if each)
    return {name: value for name, _, value in pairs if name not in ("PWD", "SHLVL", "_", "PATH", "OLDPWD")}


def run(block: Block, settings: Mapping[str, str], cwd: Path) -> str:
    """Runs a block of shell or Python, which has to succeed. Returns what it printed."""
    program = ["bash", "-ec", block.code] if block.language == "sh" else [sys.executable, "-c", block.code]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **settings, "PATH": path}
    done = subprocess.run(program, env=environment, cwd=cwd, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
