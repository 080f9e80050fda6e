"""The log is written to the database, and both to a backup: or why not."""

from __future__ import annotations

import errno
import os
import threading
from itertools import count
from pathlib import Path

import apsw
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from kpiggybank.events import Columns, Event, Range
from kpiggybank.interfaces import StoreBroken, StoreFull, StoreUnavailable
from kpiggybank.stores.sqlite import backup
from kpiggybank.stores.sqlite import file as file_module
from kpiggybank.stores.sqlite import store as store_module
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.errors import translated
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from tests.feed_contract import event
from tests.test_sqlite_upkeep import opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "bank.sqlite3"


@ensureDeferred
async def test_log_stays_short(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is written, the log begins anew now and then, and nothing is lost by that."""
    monkeypatch.setattr(store_module, "CHECKPOINT_FRAMES", 50)
    store = await opened(path)
    size = 0
    for number in range(600):
        await store.append([Event(f"e{number}", number, b'{"timestamp":%d}' % number)])
        size = max(size, os.path.getsize(f"{path}-wal"))
        while store._merging:  # or a busy disk decides how much comes meanwhile
            await deferLater(reactor, 0)
    assert size < 80 * 4200, "600 commits of 3 pages and more"
    assert await store.count(Range(0, 600)) == 600
    await store.close()
    assert list(FileCheck(str(path)).findings()) == []


@ensureDeferred
async def test_log_that_cannot_be_merged_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    """Events are taken all the same; who looks after the disk hears of it, until it can be."""

    async def merge() -> str | None:
        for _ in range(10):
            await store.append([event(f"e{next(numbers)}")])
        while store._merging:
            await deferLater(reactor, 0)
        return (await store.space()).trouble

    def fail(file: file_module.DatabaseFile) -> None:
        raise StoreUnavailable("the log stays")

    monkeypatch.setattr(store_module, "CHECKPOINT_FRAMES", 20)
    store, numbers = await opened(path), count()
    assert await merge() is None
    with monkeypatch.context() as patched:
        patched.setattr(file_module.DatabaseFile, "checkpoint", fail)
        assert await merge() == "the log stays"
    assert set(warned) == {"the log stays"}
    assert await merge() is None
    assert await store.count(Range()) == 30
    await store.close()


def test_full_disk_says_what_could_not_be_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the log cannot be written to the database is said so, not as a read that failed."""

    class Full(apsw.Connection):
        def wal_checkpoint(self, dbname: str | None = None, mode: int = 0) -> tuple[int, int]:
            if mode == apsw.SQLITE_CHECKPOINT_NOOP:
                return super().wal_checkpoint(dbname, mode)
            raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(apsw, "Connection", Full)
    file = open_file(str(path))
    for merge in (file.checkpoint, file.rewind):
        with pytest.raises(StoreFull, match=r"cannot write its log to the database: .*; make room"):
            merge()
    file.close()


def test_failure_without_a_reason_has_its_name() -> None:
    """As SQLite gives none for those of a backup."""
    for code, words in (
        (apsw.SQLITE_FULL, "SQLITE_FULL; make"),
        (apsw.SQLITE_IOERR, "SQLITE_IOERR;"),
    ):
        error = apsw.exception_for(code)
        assert isinstance(error, apsw.Error)
        assert f"SQLite cannot copy: {words}" in str(translated(error, "copy"))


def test_backup_whose_name_is_not_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken away again, so that another one can be made."""
    open_file(str(path)).close()
    target = path.parent / "copy"

    def fail(folder: Path) -> None:
        assert target.exists()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(backup, "sync_folder", fail)
        with pytest.raises(StoreUnavailable, match=f"cannot make {target}: Input/output error"):
            backup.back_up(str(path), str(target))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert backup.back_up(str(path), str(target)) == 0


def test_failed_sync_in_a_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a sync of our own that fails, too, nothing is acknowledged any more."""
    monkeypatch.setattr(file_module, "_FEW_FRAMES", 0)  # so that it is synced, however little
    file = open_file(str(path))
    append = Append(Columns.of([Event("a", 1, b'{"timestamp":1}')]), ())
    file.write([append])
    file.checkpoint()

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreBroken, match="did not sync"):
            file.checkpoint()
    with pytest.raises(StoreBroken, match="did not sync"):
        file.write([Append(Columns.of([Event("b", 1, b'{"timestamp":1}')]), ())])
    file.abandon()


def test_log_begins_anew_though_reads_overlap(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is always read by somebody is bounded, too, and shrinks afterwards."""
    monkeypatch.setattr(file_module, "LONG_LOG_FRAMES", 200)
    file = open_file(str(path))
    done, begun = threading.Event(), [0, 0]

    def read(me: int) -> None:
        while not done.is_set():
            with file._readers.one() as connection:
                connection.execute("BEGIN")
                assert connection.execute("SELECT count(*) FROM event").get >= 0
                others = begun[1 - me]
                begun[me] += 1
                # Until the other one has begun again, unless it is held up.
                while (
                    begun[1 - me] == others and not file._readers.gate._shut and not done.is_set()
                ):
                    done.wait(0.001)
                connection.execute("COMMIT")

    readers = [threading.Thread(target=read, args=(me,)) for me in (0, 1)]
    for reader in readers:
        reader.start()
    longest = 0
    try:
        for number in range(600):
            given = Columns.of([Event(f"e{number}", number, b'{"timestamp":%d}' % number)])
            file.write([Append(given, ())])
            longest = max(longest, file.log_frames)
            if number % 20 == 0:
                file.checkpoint()
                file.rewind()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert 200 < longest < 400, "600 commits of 3 frames and more"
    file.close()
