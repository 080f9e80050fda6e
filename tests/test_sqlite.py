"""The SQLite store: the contract, and what is its own: files, locks, threads, durability."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import apsw
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from kpiggybank.events import Range
from kpiggybank.interfaces import (
    IDisposable,
    IEventBank,
    StoreBroken,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from kpiggybank.stores.sqlite import file as file_module
from kpiggybank.stores.sqlite import opening, ranges
from kpiggybank.stores.sqlite.connections import connect
from kpiggybank.stores.sqlite.store import SQLiteStore
from tests.feed_contract import ArrivalContract, event, events, read_all, stored
from tests.store_contract import StoreContract


class TestSQLiteStore(StoreContract, ArrivalContract):
    """The contract on a file."""

    def make_store(self, folder: Path) -> IEventBank:
        """One whose folder is still missing."""
        return SQLiteStore(reactor, str(folder / "data" / "bid_kpi_test.sqlite3"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "bank.sqlite3"


async def refusal(path: Path) -> str:
    """What the store says that refuses to open this file."""
    store = SQLiteStore(reactor, str(path))
    with pytest.raises((StoreUnavailable, StoreDamaged)) as refused:
        await store.open()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@ensureDeferred
async def test_events_and_cursors_outlive_the_store(path: Path) -> None:
    """A restart changes neither events nor what cursors mean, and goes on numbering."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    first = await stored(store, events([2, 1, 2**64]))
    await store.close()

    store = SQLiteStore(reactor, str(path))
    await store.open()
    assert [e.timestamp for e in await read_all(store)] == [1, 2, 2**64]
    assert await store.last() == first[-1].cursor
    await store.append([event("later", 3)])
    changes = await store.changes(first[0].cursor, 10)
    assert [change.event.id for change in changes] == ["e1", "e2", "later"]
    await store.close()


@ensureDeferred
async def test_durable_settings(path: Path) -> None:
    """Write-ahead log, and a sync before each acknowledgement, on the connection that writes."""
    file = opening.open_file(str(path))
    assert file._writer.pragma("journal_mode") == "wal"
    assert file._writer.pragma("synchronous") == 2  # FULL
    file.close()


@ensureDeferred
async def test_file_is_clean_and_private(path: Path) -> None:
    """A closed store is one file, which other users cannot read."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await store.append(events([1]))
    await store.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


@ensureDeferred
async def test_people_can_read_it(path: Path) -> None:
    """The file answers to plain SQLite, with the events as JSON text."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await store.append([event("a", 7, type="hello")])
    await store.close()
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, timestamp, json ->> 'type' FROM event").fetchall()
    connection.close()
    assert rows == [("a", 7, "hello")]


@ensureDeferred
async def test_no_database_call_in_the_reactor_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every use of SQLite is in a thread, opening and closing included."""
    threads: set[threading.Thread] = set()

    class Watched(apsw.Connection):
        def execute(self, *args, **options):  # type: ignore[no-untyped-def]
            threads.add(threading.current_thread())
            return super().execute(*args, **options)

        def close(self, force: bool = False) -> None:
            threads.add(threading.current_thread())
            super().close(force)

    monkeypatch.setattr(apsw, "Connection", Watched)
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await store.append(events([1]))
    await store.get("e0")
    await store.count(Range())
    await store.changes(await store.last(), 1)
    await store.close()
    assert threads
    assert threading.main_thread() not in threads


@ensureDeferred
async def test_one_turn_is_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appends of the same reactor turn share a commit."""
    groups = []
    write = file_module.DatabaseFile.write

    def counted(self, group):  # type: ignore[no-untyped-def]
        groups.append(len(group))
        return write(self, group)

    monkeypatch.setattr(file_module.DatabaseFile, "write", counted)
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await gatherResults([store.append([event(f"n{place}", place)]) for place in range(64)])
    await store.close()
    assert groups == [64]


@ensureDeferred
async def test_failed_write_is_no_ack(path: Path) -> None:
    """When the commit fails every append of the group fails, and the next one works well."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    assert store._file is not None
    store._file._writer.set_commit_hook(lambda: True)  # turns COMMIT into a rollback
    failing = [store.append([event(f"lost{place}", 1)]) for place in range(3)]
    for append in failing:
        with pytest.raises(StoreUnavailable):
            await append
    store._file._writer.set_commit_hook(None)
    changes = await stored(store, [event("kept", 2)])
    assert [e.id for e in await read_all(store)] == ["kept"]
    assert await store.last() == changes[0].cursor
    await store.close()


@ensureDeferred
async def test_second_store_on_the_same_file(path: Path) -> None:
    """A file belongs to one store at a time; the first is not disturbed."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    assert await refusal(path) == f"{path} is in use by another KPIggyBank"
    await store.append(events([1]))
    await store.close()
    again = SQLiteStore(reactor, str(path))
    await again.open()
    assert await again.count(Range()) == 1
    await again.close()


@ensureDeferred
async def test_file_that_is_no_database(path: Path) -> None:
    """Some other file is refused and stays as it is."""
    path.write_bytes(b"dear diary, " * 100)
    assert "no SQLite database" in await refusal(path)
    assert path.read_bytes() == b"dear diary, " * 100


@pytest.mark.parametrize("mode", ["delete", "wal"])
@ensureDeferred
async def test_database_of_another_program(path: Path, mode: str) -> None:
    """Somebody else's database is refused and stays as it is."""
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("CREATE TABLE bank (version)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


@ensureDeferred
async def test_database_of_a_later_version(path: Path) -> None:
    """A schema that this version does not know is refused."""
    opening.open_file(str(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE bank SET version = 3")
    connection.commit()
    connection.close()
    assert "schema version 3" in await refusal(path)


@ensureDeferred
async def test_file_cut_short(path: Path) -> None:
    """A database of which only the beginning is there is refused."""
    file = opening.open_file(str(path))
    file.close()
    os.truncate(path, 1000)
    assert str(path) in await refusal(path)


@ensureDeferred
async def test_unusable_folder(tmp_path: Path) -> None:
    """A folder that cannot be made is one line."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "bank.sqlite3"
    assert (await refusal(path)).startswith(f"cannot open {path}")


@ensureDeferred
async def test_empty_file(path: Path) -> None:
    """An empty file is one that was cut short: a new one has its name only when it is whole."""
    path.touch()
    assert "damaged (it is shorter than any database)" in await refusal(path)
    assert path.read_bytes() == b""


@ensureDeferred
async def test_log_without_its_file(path: Path) -> None:
    """A log whose database has gone is no reason to make a new one."""
    Path(f"{path}-wal").write_bytes(b"some of the log")
    await refusal(path)
    assert [entry.name for entry in path.parent.iterdir()] == [f"{path.name}-wal"]


@pytest.mark.parametrize("replaced", [False, True])
@ensureDeferred
async def test_file_is_taken_away(path: Path, replaced: bool) -> None:
    """What would go into a file that nobody can find any more is not acknowledged."""
    store = SQLiteStore(reactor, str(path))
    told: list[StoreError] = []
    store.when_broken(told.append)
    await store.open()
    await store.append(events([1]))
    path.rename(path.with_suffix(".moved"))
    if replaced:
        path.write_bytes(path.with_suffix(".moved").read_bytes())
    for _ in range(2):
        with pytest.raises(StoreBroken, match="removed or replaced"):
            await store.append(events([2], "lost"))
    assert len(told) == 1
    await store.close()


@ensureDeferred
async def test_many_events_of_one_time_page_quickly(path: Path) -> None:
    """Paging through events that share a timestamp steps over each once, not once a page."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await store.append(events([7] * 4000))
    assert store._file is not None
    connection = connect(str(path))
    plan = connection.execute(
        f"EXPLAIN QUERY PLAN SELECT json FROM event WHERE {ranges.WITHIN}", (7, 3000)
    ).fetchall()
    connection.close()
    assert "timestamp=? AND rowid>?" in str(plan)
    assert len(await read_all(store, limit=10)) == 4000
    await store.close()


@ensureDeferred
async def test_destroy(path: Path) -> None:
    """A destroyed store leaves no file."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    await store.append(events([1]))
    await store.close()
    await IDisposable(store).destroy()
    assert list(path.parent.iterdir()) == []


@ensureDeferred
async def test_space(path: Path) -> None:
    """The room on the disk is that of the file with its log; a file that is gone has none."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    before = await store.space()
    assert before.used >= path.stat().st_size > 0
    disk = os.statvfs(path)
    assert 0 < before.free <= disk.f_blocks * disk.f_frsize
    await store.append([event("a", text="x" * 100_000)])
    assert (await store.space()).used >= before.used + 100_000
    assert (sum(store.group_sizes().counts), store.group_sizes().total) == (1, 1)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StoreUnavailable, match="cannot be looked at"):
        await store.space()
    path.with_suffix(".away").rename(path)
    await store.close()
