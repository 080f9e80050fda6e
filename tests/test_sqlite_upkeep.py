"""What SQLite files live through: an older version, people's hands, a long log, large pieces."""

from __future__ import annotations

import errno
import os
import threading
from itertools import count
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from kpiggybank.events import PAGE_BYTES, Columns, Event, EventText, Page, Range
from kpiggybank.interfaces import InvalidCursor, StoreBroken, StoreFull, StoreUnavailable
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import backup, ranges
from kpiggybank.stores.sqlite import file as file_module
from kpiggybank.stores.sqlite import store as store_module
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.errors import translated
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.store import SQLiteStore
from tests.feed_contract import event, events, read_all

FIRST_SCHEMA = """
    CREATE TABLE bank (version INTEGER NOT NULL, generation TEXT NOT NULL) STRICT;
    CREATE TABLE event (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, timestamp ANY NOT NULL,
                        json TEXT NOT NULL) STRICT;
    CREATE UNIQUE INDEX event_id ON event (id);
    CREATE INDEX event_timestamp ON event (timestamp);
    INSERT INTO bank VALUES (1, '0123abcd');
    INSERT INTO event VALUES (1, 'a', 5, '{"timestamp":5}'), (2, 'b', 1.5, '{"timestamp":1.5}'),
                             (3, 'c', 18446744073709551616.0, '{"timestamp":18446744073709551616}');
    PRAGMA application_id = 0x4B504967;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "bank.sqlite3"


async def opened(path: Path) -> SQLiteStore:
    """A store on a file."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    return store


def sql(path: Path, statement: str) -> None:
    """What people do to a file while no store has it open."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute(statement)
    finally:
        connection.close()


@ensureDeferred
async def test_first_version(path: Path) -> None:
    """A file of version 1 is brought up, with its events and cursors, and is a good one then."""
    sql(path, FIRST_SCHEMA)
    store = await opened(path)
    assert [(e.id, e.timestamp) for e in await read_all(store)] == [
        ("b", 1.5),
        ("a", 5),
        ("c", 2**64),
    ]
    assert [change.event.id for change in await store.changes("1-0123abcd", 9)] == ["b", "c"]
    assert await store.count(Range()) == 3
    await store.append(events([7], "new"))
    await store.close()
    assert list(FileCheck(str(path)).findings()) == []
    store = await opened(path)
    assert await store.count(Range()) == 4
    await store.close()


@ensureDeferred
async def test_people_delete_old_events(path: Path) -> None:
    """Counts, cursors and the check stay right; the newest event cannot be taken."""
    store = await opened(path)
    await store.append(events(range(10)))
    cursor = (await store.changes(await store.first(), 5))[-1].cursor
    page = Page(2, (await store.read(Range(), Page(2))).after)
    await store.close()
    sql(path, "DELETE FROM event WHERE timestamp < 7")
    with pytest.raises(apsw.ConstraintError, match="the newest event must stay"):
        sql(path, "DELETE FROM event WHERE timestamp > 8")
    store = await opened(path)
    assert await store.count(Range()) == 3 == await store.count(Range(0, 100))
    assert [change.event.id for change in await store.changes(cursor, 9)] == ["e7", "e8", "e9"]
    for read in (store.read(Range(), page), store.copy(Range(), page, b",")):
        with pytest.raises(InvalidCursor, match="an event that is not there"):
            await read
    await store.append(events([11], "new"))
    assert await store.count(Range()) == 4
    await store.close()
    assert list(FileCheck(str(path)).findings()) == []


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
@ensureDeferred
async def test_copied_range_is_what_is_read(path: Path, limit: int, descending: bool) -> None:
    """The text of a range is its events, joined, whatever the pieces and equal timestamps."""
    store = await opened(path)
    await store.append(events([3, 1, 3, 3, 2, 3, 3, 1, 9, 3, -1.5, 2**64, 10, 11, 11, 12, 13, 13]))
    for span in (Range(), Range(1, 3), Range(3, 3), Range(4, 8), Range(9), Range(5, 1)):
        expected = [e.json for e in await read_all(store, span, descending=descending)]
        texts: list[bytes] = []
        page = Page(limit, descending=descending)
        while True:
            piece = await store.copy(span, page, b",")
            texts += [piece.text] if piece.text else []
            if piece.after is None:
                break
            page = replace(page, after=piece.after)
        assert b",".join(texts) == b",".join(expected)
    await store.close()


@ensureDeferred
async def test_copied_range_of_large_events(path: Path) -> None:
    """Pieces of large events end early, also where a single one is larger than a piece."""
    store = await opened(path)
    sizes = [10, PAGE_BYTES // 2, PAGE_BYTES // 2, PAGE_BYTES + 10, 10, 10]
    given = [event(f"e{n}", n, text="x" * size) for n, size in enumerate(sizes)]
    await store.append(given)
    pieces = [await store.copy(Range(), Page(100), b"\n")]
    while pieces[-1].after is not None:
        pieces.append(await store.copy(Range(), Page(100, after=pieces[-1].after), b"\n"))
    assert b"\n".join(p.text for p in pieces if p.text) == b"\n".join(e.json for e in given)
    assert max(len(piece.text) for piece in pieces) < 2 * PAGE_BYTES + 100
    await store.close()


@ensureDeferred
async def test_copies_learn_how_large_events_are(path: Path) -> None:
    """Where a piece was too large the next ones are smaller at once, and grow again with time."""
    store = await opened(path)
    given = [event(f"e{n}", n, text="x" * (990 if n < 500 else 90)) for n in range(1000)]
    await store.append(given)
    asked: list[str] = []

    def note(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        asked.append(statement)
        return True

    reading = apsw.Connection(str(path))
    reading.exec_trace = note
    copier = ranges.Copier(Sequence("0123abcd"))
    page = Page(200, size=30_000)
    texts: list[bytes] = []
    while True:
        piece = copier.copy(reading, Range(), page, b",")
        texts.append(piece.text)
        if piece.after is None:
            break
        page = replace(page, after=piece.after)
    reading.close()
    await store.close()
    assert b",".join(texts) == b",".join(e.json for e in given)
    tries = [statement for statement in asked if "group_concat" in statement]
    assert len(tries) <= len(texts) + 5
    assert len(texts) < 30  # 20 of the large ones


@pytest.mark.parametrize("limits", [(2, 9), (1, 2, 9)])
@ensureDeferred
async def test_copied_range_is_of_one_moment(path: Path, limits: tuple[int, ...]) -> None:
    """What is written while a piece is copied does not change where the next one begins."""
    store = await opened(path)
    given = events([1, 2, 3, 3, 4])
    await store.append(given)
    second = "OFFSET" if len(limits) == 2 else "INDEXED BY"  # of a piece's statements
    reading, writing = apsw.Connection(str(path)), apsw.Connection(str(path))

    between: list[str] = []

    def write_between(cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
        if second in statement and not between:
            between.append(statement)
            writing.execute("INSERT INTO event VALUES (6, 'late', 1.5, '{\"timestamp\":1.5}', 0)")
        return True

    reading.exec_trace = write_between
    copier = ranges.Copier(Sequence("0123abcd"))
    pieces: list[EventText] = []
    for limit in limits:
        after = pieces[-1].after if pieces else None
        pieces.append(copier.copy(reading, Range(), Page(limit, after), b","))
    for connection in (reading, writing):
        connection.close()
    await store.close()
    assert between
    assert b",".join(piece.text for piece in pieces) == b",".join(e.json for e in given)


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
        def wal_checkpoint(self, *args: object) -> tuple[int, int]:
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
