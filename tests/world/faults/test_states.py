"""Which of Postgres' errors pass, asked of a real one: what is taken for permanent by mistake makes good spans dead letters."""

import socket
import threading
from random import Random

import psycopg
import pytest
from conftest import wait_until
from faults.cluster import Cluster
from faults.proxy import Proxy
from sqlalchemy import text

from headrace.errors import (
    DatabaseRefuses,
    DatabaseUnavailable,
    PermanentExportError,
    RowsRefused,
    StatementTimeout,
    TablesChanged,
    WriteBroke,
)
from headrace.store.database import Database

PASSES = [
    "08000", "08001", "08003", "08004", "08006", "08P01", "0A000", "25006", "25P02", "25P03", "25P04", "26000",
    "28000", "28P01", "3D000", "3F000", "40001", "40002", "40P01", "42501", "42703", "42P01", "42P07", "53000",
    "53100", "53200", "53300", "53400", "55000", "55006", "55P03", "57000", "57014", "57P01", "57P02", "57P03",
    "57P05", "58000", "58030", "58P01", "72000", "F0000", "XX000", "XX001", "XX002", "99999",
]  # fmt: skip
"""Connection, read-only, idle, rights, deadlocks, a schema amid its upgrade, resources, locks, shutdown, timeouts, the system,
internal errors, and one that no version knows."""

TIMEOUTS: dict[str, type[Exception]] = {"57014": StatementTimeout, "25P04": StatementTimeout}
"""They pass as well, in halves."""

REFUSES = dict.fromkeys(["28000", "28P01", "3D000", "42501"], DatabaseRefuses)
"""They pass once somebody has given back what is missing: a start is refused, a write waits."""

CHANGED = dict.fromkeys(["3F000", "42703", "42P01", "42P07"], TablesChanged)
"""They pass once the tables are known again: another look at them comes first."""

STAYS = ["22001", "22003", "22021", "22P02", "22P05", "23502", "23503", "23505", "23514", "54000", "54001",
         "21000", "44000", "P0001"]  # fmt: skip


def judged(database: Database, statement: str) -> type[Exception]:
    with pytest.raises((DatabaseUnavailable, PermanentExportError)) as raised, database.begin() as connection:
        connection.execute(text(statement))
    return raised.type


def test_every_state_of_postgres_passes_and_every_fault_of_the_rows_stays(database: Database) -> None:
    raising = "DO $$ BEGIN RAISE EXCEPTION 'so be it' USING ERRCODE = '{}'; END $$"
    kinds = {state: judged(database, raising.format(state)) for state in [*PASSES, *STAYS]}
    broke = {state: WriteBroke for state in PASSES if state.startswith("08") or state in ("53200", "57P01", "57P02", "XX000")}
    assert kinds == dict.fromkeys(PASSES, DatabaseUnavailable) | TIMEOUTS | REFUSES | CHANGED | broke | dict.fromkeys(
        STAYS, RowsRefused
    )


def test_an_error_without_a_state_is_judged_by_its_kind(database: Database) -> None:
    """libpq gives none to a connection that broke, and psycopg makes a plain DatabaseError of that."""
    for kind in (psycopg.DatabaseError, psycopg.InternalError, psycopg.OperationalError, psycopg.InterfaceError):
        assert isinstance(database.judge(kind("lost synchronization with server")), DatabaseUnavailable)
    for kind in (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError):
        assert isinstance(database.judge(kind("a NUL in a text")), PermanentExportError)


def copy_and_cut(database: Database, proxy: Proxy) -> None:
    last = proxy.random.randrange(1000)
    with database.begin() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with driver.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text"])
            for number in range(1000):
                copy.write_row(["x" * 1000])
                if number == last:
                    proxy.cut_all()
        proxy.cut_all()


def test_a_connection_cut_amid_a_copy_passes(cluster: Cluster) -> None:
    """At each of many places."""
    with Proxy(cluster.port, Random(3)) as proxy:
        database = Database(cluster.url.replace(str(cluster.port), str(proxy.port)))
        for _ in range(20):
            with database.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS copied (row text)"))
            with pytest.raises(DatabaseUnavailable):
                copy_and_cut(database, proxy)
        database.close()


def test_a_host_that_vanishes_is_noticed(cluster: Cluster) -> None:
    database = Database(cluster.url)
    with database.begin() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=driver.fileno()) as found:
            milliseconds = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            found.detach()
    database.close()
    assert milliseconds == 15_000


def test_only_one_probe_hangs_with_postgres(cluster: Cluster) -> None:
    database = Database(cluster.url)
    assert database.probe().up
    with cluster.frozen():
        database.note("to be asked again")
        database._checked = 0.0
        first = threading.Thread(target=database.probe)
        first.start()
        wait_until(database._probing.locked)
        assert not database.probe().up  # at once
        assert first.is_alive()
    first.join(10)
    assert database.state.up
    database.close()
