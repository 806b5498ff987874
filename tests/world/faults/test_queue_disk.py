"""The queue's disk: cut off, full, changed behind our back. What was acknowledged is there, and the service goes on."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import pytest
from conftest import Launcher, Running, free_port, rows, wait_until
from faults.load import Tally
from faults.power_cut import Operation, cut, read_record
from faults.table import Row

import otlp
from headrace.errors import QueueFull
from headrace.queue import Item
from headrace.queue.disk.file import FORMAT
from headrace.queue.disk.queue import DiskQueue
from headrace.queue.disk.storage import Storage

pytestmark = pytest.mark.slow(
    "errors parts otlp envelope queue store processor pipeline mlflow export receiver host tests/faults"
)

MIB = 1024 * 1024
POWER_CUTS = int(os.environ.get("POWER_CUTS", "100"))
_SETTLED = 1 << 32

_LOAD = """
import ctypes, os, pathlib, random, sys, threading
from headrace.queue.disk.queue import DiskQueue
note = ctypes.CDLL(os.environ["LD_PRELOAD"]).record_note
note.argtypes = [ctypes.c_uint64]
queue = DiskQueue(pathlib.Path(os.environ["RECORD_DIR"]), 1 << 30)
def offer(first):
    sizes = random.Random(first)
    for number in range(first, first + 40):
        queue.offer(number.to_bytes(8, "big") + bytes([number % 251]) * sizes.choice((10, 3_000, 60_000, 300_000))).result()
        note(number)
def drain():
    while items := queue.claim(1 << 20, 0.3):
        for item in items:
            number = int.from_bytes(item.envelope[:8], "big")
            if number % 4:  # one in four stays
                note(number + (1 << 32))
                queue.settle([item])
threads = [threading.Thread(target=offer, args=(first,)) for first in (0, 1000, 2000, 3000)]
threads.append(threading.Thread(target=drain))
for thread in threads: thread.start()
for thread in threads: thread.join()
queue.close()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Operation]:
    """What a queue under load does to its files."""
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    base = tmp_path_factory.mktemp("record")
    library, log, directory = base / "record.so", base / "log", base / "queue"
    source = Path(__file__).with_name("record_writes.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "RECORD_DIR": str(directory), "RECORD_LOG": str(log)}
    subprocess.run([sys.executable, "-c", _LOAD], env=environment, check=True, timeout=120)
    operations = read_record(log)
    if not any(operation.kind == "s" for operation in operations):
        pytest.skip("this Python has SQLite linked in, so that its writes cannot be watched")
    return operations


def test_a_power_cut_at_any_point_loses_nothing_acknowledged(
    recorded: list[Operation], tmp_path: Path, show: Callable[[Row], None]
) -> None:
    random = Random(1)
    places = set(random.sample(range(len(recorded)), POWER_CUTS))
    checked = 0
    for place, files in cut(recorded, places, random):
        told = {operation.offset for operation in recorded[:place] if operation.kind == "a"}
        directory = tmp_path / str(place)
        directory.mkdir()
        for path, content in files.items():
            if not path.name.endswith("-shm"):
                (directory / path.name).write_bytes(content)
        with closing(DiskQueue(directory, 1 << 30)) as queue:
            found = {int.from_bytes(item.envelope[:8], "big"): item for item in claim_all(queue)}
        must = {number for number in told if number < _SETTLED and number + _SETTLED not in told}
        assert must <= found.keys(), f"lost at operation {place}: {sorted(must - found.keys())}"
        assert all(set(item.envelope[8:]) == {number % 251} for number, item in found.items())
        assert not list(directory.glob("damaged-*")), "a power cut is no damage"
        checked += len(must)
        shutil.rmtree(directory)
    assert checked > 5 * POWER_CUTS
    show(Row("power cut, played on the queue's files", POWER_CUTS, Tally(checked, checked)))


def test_the_power_cut_would_find_a_queue_that_does_not_sync(recorded: list[Operation], tmp_path: Path) -> None:
    unsynced = [operation for operation in recorded if operation.kind != "s"]
    end = len(unsynced)
    lost = 0
    for _, files in cut([*unsynced, Operation("a", tmp_path, 0, b"")], {end}, Random(1)):
        database = next((content for path, content in files.items() if path.name == "queue.db"), b"")
        told = {operation.offset for operation in unsynced if operation.kind == "a"}
        lost += sum(number.to_bytes(8, "big") not in database for number in told if number < _SETTLED and not number % 4)
    assert lost


def claim_all(queue: DiskQueue) -> list[Item]:
    found: list[Item] = []
    while items := queue.claim(MIB, 0):
        found += items
    return found


def filled(directory: Path, requests: int = 200) -> Path:
    """A queue of requests of 5,000 bytes each, at rest. Returns its file."""
    with closing(DiskQueue(directory, 64 * MIB)) as queue:
        for future in [queue.offer(number.to_bytes(8, "big") + bytes([7]) * 5000) for number in range(requests)]:
            future.result(10)
    return directory / "queue.db"


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("where", "least"),
    [
        pytest.param((0, b"no SQLite header"), 0, id="header"),
        pytest.param((4096, os.urandom(4096)), 0, id="the first page of the tree"),
        pytest.param((600_000, os.urandom(4096 * 8)), 180, id="pages in the middle"),
        pytest.param((600_000, None), 80, id="cut short"),
    ],
)
def test_a_damaged_file_is_moved_aside_and_what_can_be_read_goes_on(
    tmp_path: Path, where: tuple[int, bytes | None], least: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    offset, data = where
    before = path.stat().st_size
    if data is None:
        os.truncate(path, offset)
    else:
        overwrite(path, offset, data)
    with closing(DiskQueue(tmp_path, 64 * MIB)) as queue:
        found = claim_all(queue)
        assert all(item.envelope[8:] == bytes([7]) * 5000 for item in found)
        assert [item.envelope for item in found] == sorted(item.envelope for item in found)
        assert least <= len(found)
        assert len(found) < 200
        queue.offer(b"goes on").result(10)
        assert [item.envelope for item in claim_all(queue)] == [b"goes on"]
    (aside,) = tmp_path.glob("damaged-*-salvaged")
    assert (aside / "queue.db").stat().st_size == (offset if data is None else before)
    assert "queue file is damaged: moved aside" in caplog.text
    DiskQueue(tmp_path, 64 * MIB).close()
    assert list(tmp_path.glob("damaged-*")) == [aside], "read once"


def test_a_kill_while_a_damaged_file_is_moved_loses_nothing_of_it(tmp_path: Path) -> None:
    path = filled(tmp_path)
    connection = sqlite3.connect(path, isolation_level=None)  # held open, so that the log stays beside the file
    connection.execute("UPDATE item SET offered_unix_nano = 5")
    aside = tmp_path / "damaged-20260101T000000Z-000000"
    aside.mkdir()
    shutil.copy(path, aside / "queue.db")
    path.unlink()  # moved already; its log is not yet
    with closing(DiskQueue(tmp_path, 64 * MIB)) as queue:
        assert len(claim_all(queue)) == 200
        assert queue.size().oldest_unix_nano == 5
    connection.close()


def test_a_changed_request_is_set_aside_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path)
    place = path.read_bytes().index(bytes([7]) * 3000)
    overwrite(path, place + 1000, b"!")
    with closing(DiskQueue(tmp_path, 64 * MIB)) as queue:
        assert len(claim_all(queue)) == 199
        wait_until(lambda: queue.size().items == 199)
    (aside,) = tmp_path.glob("damaged-item-*")
    assert len(aside.read_bytes()) == 5008
    assert "request in the queue is damaged" in caplog.text


def test_damage_that_is_met_at_work_stops_the_intake_until_the_next_start(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(DiskQueue(tmp_path, 64 * MIB)) as queue:
        overwrite(path, 4096, os.urandom(path.stat().st_size - 4096))
        with pytest.raises(Exception, match="malformed"):
            claim_all(queue)
        with pytest.raises(Exception, match="start Headrace again"):
            queue.offer(b"more")


def test_the_first_format_is_read_and_brought_up(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT,"
            " offered_unix_nano INTEGER NOT NULL, envelope BLOB NOT NULL)"
        )
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO item (offered_unix_nano, envelope) VALUES (1, ?)", (b"of old",))
    with closing(DiskQueue(tmp_path, MIB)) as queue:
        queue.offer(b"of now").result(5)
        assert [item.envelope for item in claim_all(queue)] == [b"of old", b"of now"]
    with closing(sqlite3.connect(tmp_path / "queue.db")) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (FORMAT,)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(directory)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_disk_that_the_queue_itself_has_filled_is_free_again_once_it_is_drained(small_disk: Path) -> None:
    def fill(queue: DiskQueue) -> None:
        for _ in range(100):
            queue.offer(os.urandom(MIB // 4)).result(10)

    with closing(DiskQueue(small_disk, 1 << 30, 6 * MIB, 80)) as queue:
        with pytest.raises(QueueFull, match="HEADRACE_MIN_FREE_BYTES"):
            fill(queue)
        while items := queue.claim(MIB, 0):
            queue.settle(items)
        wait_until(lambda: not queue.size().refusal, 20, "the free pages of its file to go back to the disk")
        queue.offer(b"again").result(10)


def request(size: int) -> bytes:
    return otlp.request(otlp.span(attrs={"text": "x" * size})).SerializeToString()


def ready(running: Running) -> set[bool]:
    """What /readyz says, and what the metrics say."""
    status = httpx.get(f"{running.url}/readyz", timeout=20).status_code
    return {status == 200, "\nheadrace_ready 1.0\n" in httpx.get(f"{running.url}/metrics", timeout=20).text}


@pytest.mark.parametrize("min_free", [4 * MIB, 0], ids=["some is left free", "none is left free"])
def test_a_full_queue_disk_refuses_and_recovers_by_itself(
    headrace: Launcher, database_url: str, small_disk: Path, min_free: int, show: Callable[[Row], None]
) -> None:
    running = headrace(
        database_url=database_url, data_dir=small_disk, min_free_bytes=min_free, default_experiment="Default", wait=True
    )
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        free = shutil.disk_usage(small_disk).free
        file.write(bytes(free if min_free == 0 else free - min_free + MIB))
    statuses = []

    def send(size: int) -> httpx.Response:
        statuses.append((answer := running.post(request(size))).status_code)
        return answer

    refused = wait_until(lambda: (answer := send(200_000)).status_code == 503 and answer)
    assert refused.headers["retry-after"] == "2"
    assert "free" in refused.text
    assert ready(running) == {False}
    for _ in range(5):
        send(10)
    ballast.unlink()
    wait_until(lambda: ready(running) == {True})
    assert send(200_000).status_code == 200
    assert set(statuses) == {200, 503}
    wait_until(running.drained)
    assert running.stop() == 0
    stored = len(rows(database_url, "SELECT 1 FROM spans"))
    assert stored == statuses.count(200)
    show(Row("the queue's disk is full", 1, Tally(stored, stored, refused=statuses.count(503))))


def test_a_disk_that_takes_nothing_is_not_taken_for_well(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.queue.disk.committer.PROBE_SECONDS", 0.01)
    tried = 0
    roll_back = Storage.roll_back

    def count(storage: Storage) -> None:  # after each commit that failed
        nonlocal tried
        tried += 1
        roll_back(storage)

    monkeypatch.setattr(Storage, "roll_back", count)
    with closing(DiskQueue(small_disk / "queue", MIB)) as queue:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        with pytest.raises(Exception, match="free some space"):
            queue.offer(b"x").result(5)
        wait_until(lambda: tried > 5, what="the tries that follow by themselves")
        assert "free some space" in queue.size().refusal
        ballast.unlink()
        wait_until(lambda: not queue.size().refusal)
        queue.offer(b"x").result(5)


def test_a_full_queue_takes_requests_again_from_the_low_water_on(tmp_path: Path) -> None:
    with closing(DiskQueue(tmp_path, 10_000, 0, 50)) as queue:
        for _ in range(10):
            queue.offer(bytes(1000)).result(5)
        for _ in range(2):
            with pytest.raises(Exception, match="takes requests again from 5000 bytes"):
                queue.offer(b"x")
        assert queue.size().refusal
        items = queue.claim(10_000, 1)
        queue.settle(items[:4])
        wait_until(lambda: queue.size().bytes == 6000)
        with pytest.raises(Exception, match="HEADRACE_QUEUE_MAX_BYTES"):
            queue.offer(b"x")  # below the high water, above the low
        queue.settle(items[4:5])
        wait_until(lambda: not queue.size().refusal)
        queue.offer(bytes(5000)).result(5)


def test_a_drained_backlog_gives_its_disk_back(tmp_path: Path) -> None:
    with closing(DiskQueue(tmp_path, 256 * MIB)) as queue:
        for future in [queue.offer(bytes(MIB)) for _ in range(48)]:
            future.result(30)
        kept = queue.offer(b"kept")
        kept.result(5)
        items = claim_all(queue)
        queue.settle(items[:-1])
        wait_until(lambda: queue.size().items == 1)
        with closing(sqlite3.connect(tmp_path / "queue.db")) as looking:
            wait_until(lambda: looking.execute("PRAGMA page_count").fetchone()[0] * 4096 < 20 * MIB, what="pages given back")
        wait_until(lambda: sum(path.stat().st_size for path in tmp_path.glob("queue.db*")) < 20 * MIB, what="disk given back")
    assert (tmp_path / "queue.db").stat().st_size < 20 * MIB


def test_queue_status_and_verify(headrace: Launcher, tmp_path: Path) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    running = headrace(database_url=nowhere, default_experiment="Default", data_dir=tmp_path, workers=2)
    for _ in range(20):
        assert running.post(request(1000)).status_code == 200
    stated = [json.loads(line) for line in command("status", "--json", tmp_path).stdout.splitlines()]
    assert sum(one["requests"] for one in stated) == 20
    assert [Path(one["directory"]).name for one in stated] == ["queue", "queue-1"]
    assert all(one["owner"] and one["disk_free_bytes"] and one["oldest_unix_nano"] for one in stated if one["requests"])
    table = command("status", tmp_path).stdout
    assert f"process {running.process.pid}" in table
    verified = command("verify", tmp_path)
    assert verified.returncode == 0, verified.stderr
    assert sum(int(line.split()[3].replace(",", "")) for line in verified.stdout.splitlines()) == 20, "spans"
    running.kill()
    path = max((tmp_path / "queue" / "queue.db", tmp_path / "queue-1" / "queue.db"), key=lambda path: path.stat().st_size)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE item SET envelope = zeroblob(3) WHERE id = (SELECT max(id) FROM item)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damaged = command("verify", tmp_path)
    assert damaged.returncode == 1
    assert "its checksum does not match" in damaged.stderr
    overwrite(path, 0, b"no SQLite header")
    assert command("verify", tmp_path).returncode == command("status", tmp_path).returncode == 1
    nothing = command("status", tmp_path / "nothing")
    assert nothing.returncode == 1
    assert "has no queue" in nothing.stderr


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    *words, directory = arguments
    headrace = Path(sys.executable).with_name("headrace")
    return subprocess.run([headrace, "queue", *words, "--data-dir", directory], capture_output=True, text=True, check=False)
