"""What the bench prints."""

import pytest
from bench import report
from bench.roads import Measurement
from bench.waits import kind_of


def measurement(shape: str, road: str, rate: float, whole: str = "", **more: float) -> Measurement:
    found = Measurement(shape, road, whole, spans=100, stored=100, spans_per_second=rate)
    found.wal = more.get("wal", 0.0)
    return found


def test_pieces_are_beside_their_whole_counterpart() -> None:
    rows = report.table(
        [
            measurement("pieces", "headrace", 300, "pieces-whole"),
            measurement("pieces", "headrace", 500, "pieces-whole"),
            measurement("pieces-whole", "headrace", 800),
            measurement("pieces-whole", "copy", 1600),
        ]
    ).splitlines()
    assert [cell.strip() for cell in rows[2].split("|")][1:8] == ["pieces", "headrace", "400", "300–500", "–", "–", "0.50"]
    assert [cell.strip() for cell in rows[3].split("|")][5:8] == ["–", "0.50", "–"]


def test_a_failed_round_fails_its_row() -> None:
    failed = Measurement("long", "headrace", failure="2 traces were acknowledged to their end, 1 are whole in the tables")
    assert "| long | headrace | **FAILED** |" in report.table([measurement("long", "headrace", 300), failed])


def test_several_processes_are_beside_the_first() -> None:
    one, two = measurement("10x10", "headrace", 100, wal=2000), measurement("10x10", "headrace-2", 150, wal=2100)
    two.waits = {"idle": 1.0, "CPU": 0.5, "WAL": 0.25}
    assert "| 10x10 | headrace-2 | 150 | 1.50 | – | 2,100 | CPU 0.50, WAL 0.25 |" in report.costs([one, two])


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("CPU", "CPU"),
        ("idle", "idle"),
        ("Client:ClientRead", "idle"),
        ("IO:WalSync", "WAL"),
        ("LWLock:WALWrite", "WAL"),
        ("LWLock:WALInsert", "WAL"),
        ("IO:DataFileExtend", "files of tables and indexes"),
        ("Lock:extend", "files of tables and indexes"),
        ("LWLock:BufferContent", "buffers"),
        ("Lock:transactionid", "locks"),
        ("LWLock:LockManager", "locks"),
        ("IPC:BgWorkerShutdown", "other"),
    ],
)
def test_each_wait_has_a_kind(event: str, kind: str) -> None:
    assert kind_of(event) == kind
