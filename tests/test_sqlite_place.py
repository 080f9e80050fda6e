"""A database and its log that people take away, or change, while the store uses them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from kpiggybank.events import Page, Range
from kpiggybank.interfaces import StoreBroken, StoreDamaged, StoreError
from kpiggybank.stores.sqlite.store import SQLiteStore
from tests.feed_contract import events, read_all


@attrs.define(eq=False)
class Bank:
    """A store on a file that has one event, and what it said of being broken."""

    path: Path
    store: SQLiteStore
    told: list[StoreError] = attrs.field(factory=list)

    @property
    def log(self) -> Path:
        """The log beside the file."""
        return Path(f"{self.path}-wal")


async def opened(path: Path) -> Bank:
    """A bank."""
    bank = Bank(path, SQLiteStore(reactor, str(path)))
    bank.store.when_broken(bank.told.append)
    await bank.store.open()
    await bank.store.append(events([1]))
    return bank


async def timestamps(path: Path) -> list[object]:
    """What a store finds in a file."""
    store = SQLiteStore(reactor, str(path))
    await store.open()
    try:
        return [event.timestamp for event in await read_all(store)]
    finally:
        await store.close()


def removed(log: Path) -> None:
    """It has no name any more."""
    log.unlink()


def renamed(log: Path) -> None:
    """It is there by another name."""
    log.rename(f"{log}.old")


def replaced(log: Path) -> None:
    """Another file has its name."""
    content = log.read_bytes()
    log.unlink()
    log.write_bytes(content)


def append(bank: Bank) -> Awaitable[object]:
    """A write."""
    return bank.store.append(events([2], "lost"))


def read(bank: Bank) -> Awaitable[object]:
    """What those do who look after the daemon's health."""
    return bank.store.read(Range(), Page(1, descending=True))


@pytest.mark.parametrize("take", [removed, renamed, replaced])
@pytest.mark.parametrize("ask", [append, read])
@ensureDeferred
async def test_log_is_taken_away(
    tmp_path: Path, take: Callable[[Path], None], ask: Callable[[Bank], Awaitable[object]]
) -> None:
    """It is told of, nothing is acknowledged any more, and what was is in the file."""
    bank = await opened(tmp_path / "bank.sqlite3")
    take(bank.log)
    for _ in range(2):
        with pytest.raises(StoreBroken, match="-wal was removed or replaced"):
            await ask(bank)
    assert len(bank.told) == 1
    await bank.store.close()
    assert await timestamps(Path(shutil.copy(bank.path, tmp_path / "alone"))) == [1]


@pytest.mark.parametrize("take", [removed, renamed, replaced])
@pytest.mark.parametrize("ask", [append, read])
@ensureDeferred
async def test_index_is_taken_away(
    tmp_path: Path, take: Callable[[Path], None], ask: Callable[[Bank], Awaitable[object]]
) -> None:
    """So it is with the log's index, where the locks are; the log stays, with all that it has."""
    bank = await opened(tmp_path / "bank.sqlite3")
    before = bank.log.read_bytes()
    take(Path(f"{bank.path}-shm"))
    for _ in range(2):
        with pytest.raises(StoreBroken, match="-shm was removed or replaced"):
            await ask(bank)
    assert len(bank.told) == 1
    await bank.store.close()
    assert bank.log.read_bytes() == before
    assert await timestamps(bank.path) == [1]


@pytest.mark.parametrize("take", [removed, renamed, replaced])
@ensureDeferred
async def test_log_behind_a_link_is_taken_away(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    """So it is where the file is a link, and the log beside what that leads to."""
    real, link = tmp_path / "real.sqlite3", tmp_path / "link.sqlite3"
    await (await opened(real)).store.close()
    link.symlink_to(real.name)
    bank = await opened(link)
    assert (await bank.store.space()).used > real.stat().st_size
    take(Path(f"{real}-wal"))
    with pytest.raises(StoreBroken, match=f"{real}-wal was removed or replaced"):
        await append(bank)
    await bank.store.close()
    assert await timestamps(link) == [1]


@pytest.mark.parametrize("asked", [False, True])
@ensureDeferred
async def test_file_is_moved(tmp_path: Path, asked: bool) -> None:
    """It takes with it all that was acknowledged, and a new one can be begun in its place."""
    bank = await opened(tmp_path / "bank.sqlite3")
    moved = bank.path.rename(tmp_path / "moved")
    if asked:
        with pytest.raises(StoreBroken, match="removed or replaced"):
            await read(bank)
    await bank.store.close()
    assert len(bank.told) == 1, "even where nobody has asked"
    assert await timestamps(moved) == [1]
    assert await timestamps(bank.path) == []


@pytest.mark.parametrize("size", [0, 1, 23, 24, 31, 32, 100])
@ensureDeferred
async def test_log_is_cut_short(tmp_path: Path, size: int) -> None:
    """What is gone cannot be merged: it is told of, and the rest left as it is."""
    bank = await opened(tmp_path / "bank.sqlite3")
    os.truncate(bank.log, size)
    with pytest.raises(StoreBroken, match="-wal was cut short"):
        await append(bank)
    assert len(bank.told) == 1
    await bank.store.close()
    assert bank.log.stat().st_size == size
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"-wal is damaged .*missing at its end"):
            await timestamps(bank.path)


@pytest.mark.parametrize("size", [0, 1, 4096, 8192])
@pytest.mark.parametrize("asked", [False, True])
@ensureDeferred
async def test_file_is_cut_short(tmp_path: Path, size: int, asked: bool) -> None:
    """Nothing is acknowledged any more, and what is in the log stays there."""
    bank = await opened(tmp_path / "bank.sqlite3")
    before = bank.log.read_bytes()
    os.truncate(bank.path, size)
    if asked:
        with pytest.raises(StoreBroken, match="sqlite3 was cut short"):
            await append(bank)
    await bank.store.close()
    assert len(bank.told) == 1
    assert bank.log.read_bytes() == before


@ensureDeferred
async def test_others_may_make_the_file_smaller(tmp_path: Path) -> None:
    """Another program may give back what people have deleted."""
    bank = await opened(tmp_path / "bank.sqlite3")
    await bank.store.append(events(range(2000), "many"))
    other = apsw.Connection(str(bank.path))
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    await bank.store.append(events([0], "more"))
    before = bank.path.stat().st_size
    for statement in (
        "DELETE FROM event WHERE id LIKE 'many%' AND seq < 2000",
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ):
        other.execute(statement).fetchall()
    assert bank.path.stat().st_size < before
    other.close()
    for number in range(3):
        await bank.store.append(events([number], f"after{number}"))
    assert not bank.told
    await bank.store.close()
    assert await timestamps(bank.path) == [0, 0, 1, 1, 2, 1998, 1999]


@ensureDeferred
async def test_others_may_make_the_file_smaller_than_what_is_in_the_log(tmp_path: Path) -> None:
    """Another program may cut off pages while a commit that brings new ones is on its way."""
    bank = await opened(tmp_path / "bank.sqlite3")
    await bank.store.append(events(range(2000), "many"))
    other = apsw.Connection(str(bank.path))
    for statement in (
        "DELETE FROM event WHERE id LIKE 'many%' AND seq < 2000",
        "VACUUM",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ):
        other.execute(statement).fetchall()
    other.close()
    file = bank.store._the_file
    before, file._size = file._size, 0  # the look before that commit was too early
    await bank.store.append(events(range(500), "more"))
    file._size = before
    assert bank.path.stat().st_size < file._writer.pragma("page_count") * 4096
    await bank.store.append(events([0], "last"))
    assert not bank.told
    await bank.store.close()
    assert len(await timestamps(bank.path)) == 504


@ensureDeferred
async def test_others_may_merge_the_log(tmp_path: Path) -> None:
    """Another program may write the log to the file, and cut it, as SQLite allows."""
    bank = await opened(tmp_path / "bank.sqlite3")
    other = apsw.Connection(str(bank.path))
    for number in (2, 3):
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert bank.log.stat().st_size == 0
        await bank.store.append(events([number], f"after{number}"))
    other.close()
    assert not bank.told
    await bank.store.close()
    assert await timestamps(bank.path) == [1, 2, 3]


@ensureDeferred
async def test_others_may_read_while_it_is_closed(tmp_path: Path, warned: list[str]) -> None:
    """The log then stays where it is, which is told of, and nothing is missing."""
    bank = await opened(tmp_path / "bank.sqlite3")
    other = apsw.Connection(str(bank.path))
    assert other.execute("SELECT count(*) FROM event").get == 1
    await bank.store.close()
    assert not bank.told
    assert bank.log.stat().st_size > 0
    assert warned == [f"{bank.log} stays, as the newest events are there"]
    assert await timestamps(bank.path) == [1]
    other.close()
