"""What SQLite files live through: an older version, people's hands, a long log, large pieces."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from kpiggybank.events import PAGE_BYTES, EventText, Page, Range
from kpiggybank.interfaces import InvalidCursor
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import ranges
from kpiggybank.stores.sqlite.checking import FileCheck
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
