"""What a store finds beside its file when it opens it: no log, its own, or another one."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from kpiggybank.events import Columns, Event
from kpiggybank.interfaces import StoreDamaged, StoreUnavailable
from kpiggybank.stores.sqlite import connections, opening, rows
from kpiggybank.stores.sqlite.backup import back_up
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.wal import damaged_log, missing_log
from tests.taken_over import (
    COMMITS,
    FRAME,
    HEADER,
    PAGE,
    change,
    flipped,
    frames,
    ids,
    names,
    numbered,
    taken_over,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "bank.sqlite3"


@pytest.fixture
def killed(path: Path, tmp_path: Path) -> Path:
    """A file whose daemon was killed, and its machine: the last commits are in its log only."""
    return taken_over(path, tmp_path / "first", range(COMMITS), "", "-wal")


def test_closed_in_order(path: Path) -> None:
    """One file is left; it can be read where nothing can be written, and nothing is remarked."""
    file = open_file(str(path))
    file.write([numbered(1)])
    file.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    path.chmod(0o400)
    unchangeable = apsw.Connection(f"file:{path}?mode=ro", flags=apsw.SQLITE_OPEN_URI | 1)
    assert unchangeable.pragma("journal_mode") == "delete"
    unchangeable.close()
    path.chmod(0o600)
    assert missing_log(str(path)) is None
    assert ids(path) == ["e001"]


def test_killed(killed: Path, warned: list[str]) -> None:
    """All is found in the log, as often as the daemon is killed."""
    assert ids(killed) == names(range(COMMITS))
    assert not warned


def test_log_that_others_read(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads an older state needs the log; that is no reason not to start."""
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 10)
    reader, other = apsw.Connection(str(killed)), apsw.Connection(str(killed))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM event").get == COMMITS
    other.execute("UPDATE bank SET removed = removed")
    file = open_file(str(killed))
    file.write([numbered(COMMITS)])
    reader.close()
    other.close()
    file.close()
    assert ids(killed) == names(range(COMMITS + 1))


def test_log_of_another_file(killed: Path, tmp_path: Path) -> None:
    """A backup that is laid beside an old log would become a mixture of both."""
    back_up(str(tmp_path / "first"), str(tmp_path / "backup"))
    os.replace(tmp_path / "backup", killed)
    before = killed.read_bytes()
    with pytest.raises(StoreUnavailable, match="-wal is not its log; move that away"):
        open_file(str(killed))
    assert killed.read_bytes() == before
    os.unlink(f"{killed}-wal")
    assert ids(killed) == names(range(COMMITS))


def test_reader_of_a_file_without_a_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start waits until who reads a stopped file has ended, or says why it cannot."""
    open_file(str(path)).close()
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 10)
    monkeypatch.setattr(opening, "READ_MILLISECONDS", 10)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM event").get == 0
    with pytest.raises(StoreUnavailable, match="is locked; another program is at work in it"):
        open_file(str(path))
    monkeypatch.setattr(opening, "READ_MILLISECONDS", 30_000)
    ended = threading.Timer(0.3, reader.close)
    ended.start()
    assert ids(path) == []
    ended.join()


def test_missing_log(killed: Path, warned: list[str]) -> None:
    """That a log was removed can be seen, and is said once."""
    os.unlink(f"{killed}-wal")
    remark = missing_log(str(killed))
    assert remark is not None and "the newest events are missing" in remark
    assert ids(killed) == []
    assert warned == [remark]
    ids(killed)
    assert len(warned) == 1


def zeroed(path: Path, place: int) -> None:
    """A page was lost; its frame's head was not."""
    change(path, place + 24, bytes(PAGE))


def gone(path: Path, place: int) -> None:
    """A frame was lost with its head."""
    change(path, place, bytes(FRAME))


def headless(path: Path, place: int) -> None:
    """The log's own head is damaged."""
    change(path, 16, b"\0")


def beheaded(path: Path, place: int) -> None:
    """The log's own head was lost."""
    change(path, 0, bytes(HEADER))


def overwritten(path: Path, place: int) -> None:
    """The log's beginning is something else."""
    change(path, 0, b"\xff" * PAGE)


@pytest.mark.parametrize("damage", [flipped, zeroed, gone, headless, beheaded, overwritten])
def test_damaged_log(killed: Path, damage: Callable[[Path, int], None]) -> None:
    """Damage before the last two commits hides what was acknowledged, and is found."""
    given = Path(f"{killed}-wal").read_bytes()
    ends = [place for place, commit in frames(killed) if commit]
    for place, _ in frames(killed):
        if place > ends[-3]:
            break
        Path(f"{killed}-wal").write_bytes(given)
        damage(killed, place)
        before = killed.read_bytes(), Path(f"{killed}-wal").read_bytes()
        with pytest.raises(StoreDamaged, match=r"-wal is damaged .*cannot be read.*; restore it"):
            open_file(str(killed))
        assert "cannot be read" in str(damaged_log(str(killed)))
        assert "-wal is damaged" in next(FileCheck(str(killed)).findings())
        with pytest.raises(StoreDamaged, match="-wal is damaged"):
            back_up(str(killed), f"{killed}.copy")
        assert (killed.read_bytes(), Path(f"{killed}-wal").read_bytes()) == before


def test_torn_last_commit(killed: Path) -> None:
    """A power cut leaves any part of the last commit, which nobody was told of."""
    given = Path(f"{killed}-wal").read_bytes()
    ends = [place for place, commit in frames(killed) if commit]
    last = [place for place, _ in frames(killed) if place > ends[-2]]
    assert len(last) > 1
    for place in last:
        for damage in (flipped, zeroed, gone):
            copy = Path(shutil.copy(killed, killed.with_suffix(f".{place}.{damage.__name__}")))
            Path(f"{copy}-wal").write_bytes(given)
            damage(copy, place)
            assert damaged_log(str(copy)) is None
            assert ids(copy) == names(range(COMMITS - 1))


def test_undone_transactions_are_no_damage(path: Path) -> None:
    """What a large transaction wrote to the log before it was undone is none of its commits."""
    file = open_file(str(path))
    file._writer.pragma("cache_size", 10)
    text = b'{"timestamp":1,"text":"%s"}' % (b"x" * 2000)
    many = Columns.of([Event(f"x{number}", 1, text) for number in range(99)])
    for number in range(3):
        file.write([numbered(number)])
        file._writer.execute("BEGIN")
        rows.insert(file._writer, 10, [many])
        file._writer.execute("ROLLBACK")
    copy = Path(shutil.copy(path, path.with_suffix(".copy")))
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    file.close()
    assert len(frames(copy)) > 50
    assert damaged_log(str(copy)) is None
    assert ids(copy) == names(range(3))


def test_log_that_began_anew(path: Path) -> None:
    """The commits of a log's earlier life, behind those of this one, are no damage."""
    file = open_file(str(path))
    for number in range(20):
        file.write([numbered(number)])
    file.checkpoint()
    file.rewind()
    file.write([numbered(20)])
    copy = Path(shutil.copy(path, path.with_suffix(".copy")))
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    file.close()
    assert len(frames(copy)) > 20
    assert damaged_log(str(copy)) is None
    assert ids(copy) == names(range(21))


@pytest.mark.parametrize("size", [1, 2, PAGE - 1])
@pytest.mark.parametrize("order", [True, False])
def test_end_is_missing(killed: Path, size: int, order: bool) -> None:
    """A file that was cut by less than a page is refused, whether it was closed in order or not."""
    if order:
        ids(killed)
    else:  # SQLite has merged the log, but the daemon has not closed the file
        connection = apsw.Connection(str(killed))
        connection.execute("SELECT * FROM event").fetchall()
        connection.close()
    os.truncate(killed, killed.stat().st_size - size)
    before = killed.read_bytes()
    with pytest.raises(StoreDamaged, match="its last page is cut short"):
        open_file(str(killed))
    assert killed.read_bytes() == before


def test_end_that_is_in_the_log(killed: Path) -> None:
    """A checkpoint that a full disk has stopped leaves a part of a page, whose whole is safe."""
    with killed.open("ab") as file:
        file.write(bytes(100))
    assert ids(killed) == names(range(COMMITS))


def test_bytes_too_many(killed: Path) -> None:
    """What lies behind the last page is nobody's, and no damage."""
    ids(killed)
    with killed.open("ab") as file:
        file.write(b"x" * 100)
    assert list(FileCheck(str(killed)).findings()) == []
    assert ids(killed) == names(range(COMMITS))


def test_log_in_use(killed: Path) -> None:
    """A log that is being written is not looked at from outside."""
    change(killed, HEADER + 1000, b"x")
    assert damaged_log(str(killed)) is not None
    with killed.open("rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        assert damaged_log(str(killed)) is None


def test_damaged_bank(path: Path) -> None:
    """The check sees that what a file says of itself cannot be."""
    file = open_file(str(path))
    file.write([numbered(1), numbered(2)])
    file.close()
    for statement, words in (
        ("UPDATE bank SET removed = 1", "there are 1 events more"),
        ("UPDATE bank SET removed = 0, generation = '0123abcz'", "the row in table bank"),
        ("UPDATE bank SET generation = '0123abcd', version = 3", "the row in table bank"),
        ("UPDATE bank SET version = 2", ""),
    ):
        connection = apsw.Connection(str(path))
        connection.execute(statement)
        connection.close()
        found = list(FileCheck(str(path)).findings())
        assert [line for line in found if words in line] == found and bool(found) == bool(words)
