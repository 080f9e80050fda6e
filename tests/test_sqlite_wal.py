"""What a store finds beside its file when it opens it: no log, its own, or another one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
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
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.wal import damaged_log, missing_log

PAGE = 4096
HEADER, FRAME = 32, 24 + PAGE
COMMITS = 12


def numbered(number: int) -> Append:
    """The append of an event."""
    return Append(Columns.of([Event(f"e{number:03}", number, b'{"timestamp":%d}' % number)]), ())


def ids(path: Path) -> list[str]:
    """What is in a file, which is opened and closed for that."""
    file = open_file(str(path))
    try:
        with file._readers.one() as connection:
            found = [row[1] for row in rows.ask(connection, ("true ORDER BY seq", ()))]
    finally:
        file.close()
    return found


def names(some: range) -> list[str]:
    """The ids of some events."""
    return [f"e{number:03}" for number in some]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of a test is."""
    return tmp_path / "bank.sqlite3"


@pytest.fixture
def killed(path: Path, tmp_path: Path) -> Path:
    """A file whose daemon was killed, and its machine: the last commits are in its log only."""
    return taken_over(path, tmp_path / "first", range(COMMITS), "", "-wal")


@pytest.fixture
def indexed(path: Path, tmp_path: Path) -> Path:
    """A file whose daemon was killed, and nothing else: the log has its index."""
    return taken_over(path, tmp_path / "first", range(COMMITS), "", "-wal", "-shm")


def taken_over(path: Path, used: Path, numbers: range, *suffixes: str) -> Path:
    """A copy, of what has these names, of a file to which these events are written."""
    file = open_file(str(used))
    for number in numbers:
        file.write([numbered(number)])
    for suffix in suffixes:
        shutil.copy(f"{used}{suffix}", f"{path}{suffix}")
    file.close()
    return path


def frames(path: Path) -> list[tuple[int, bool]]:
    """Where each frame of a log begins, and whether a commit ends with it."""
    log = Path(f"{path}-wal").read_bytes()
    places = range(HEADER, len(log), FRAME)
    return [(at, struct.unpack_from(">I", log, at + 4)[0] > 0) for at in places]


def change(path: Path, place: int, content: bytes) -> None:
    """Put other bytes into a log."""
    with open(f"{path}-wal", "r+b") as log:
        log.seek(place)
        log.write(content)


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


@pytest.mark.parametrize("relative", [False, True])
def test_behind_a_link(killed: Path, tmp_path: Path, warned: list[str], *, relative: bool) -> None:
    """The log is beside the file itself, whatever leads there; check and backup know that."""
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "link.sqlite3"
    link.symlink_to(f"../{killed.name}" if relative else killed)
    given = Path(f"{killed}-wal").read_bytes()
    flipped(killed, frames(killed)[0][0])
    assert f"{killed}-wal is damaged" in str(damaged_log(str(link)))
    assert "-wal is damaged" in next(FileCheck(str(link)).findings())
    with pytest.raises(StoreDamaged, match="-wal is damaged"):
        open_file(str(link))
    Path(f"{killed}-wal").write_bytes(given)
    assert missing_log(str(link)) is None
    assert ids(link) == names(range(COMMITS))
    assert back_up(str(link), f"{tmp_path}/copy") == COMMITS
    assert not warned
    assert [entry.name for entry in link.parent.iterdir()] == [link.name]
    assert ids(killed) == names(range(COMMITS))


def test_link_to_nothing(path: Path) -> None:
    """Where the disk with the file is not there, no new one is made."""
    path.symlink_to(path.parent / "disk" / path.name)
    with pytest.raises(StoreUnavailable, match=f"cannot open {path}: No such file"):
        open_file(str(path))
    assert path.is_symlink()
    assert not (path.parent / "disk").exists()


def test_folder_does_not_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose name might be gone after a power cut is none to rely on; SQLite would."""
    open_file(str(path)).close()
    synced: list[tuple[Path, bool]] = []

    def fail(folder: Path) -> None:
        synced.append((folder, Path(f"{path}-wal").exists()))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(opening, "sync_folder", fail)
        with pytest.raises(StoreUnavailable, match=f"cannot open {path}: Input/output error"):
            open_file(str(path))
    assert synced == [(path.parent, True)]
    open_file(str(path)).close()


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


def flipped(path: Path, place: int) -> None:
    """A bit of a page has changed."""
    [byte] = Path(f"{path}-wal").read_bytes()[place + 1000 : place + 1001]
    change(path, place + 1000, bytes([byte ^ 4]))


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


def test_log_is_shorter_than_its_index(indexed: Path) -> None:
    """Where only the daemon was killed, it is found if there are bytes missing at the log's end."""
    given, log = Path(f"{indexed}-wal").read_bytes(), Path(f"{indexed}-wal")
    cuts = [at for at, _ in frames(indexed)] + [HEADER + 1, len(given) - 1, len(given) - PAGE]
    for cut in cuts:
        log.write_bytes(given[:cut])
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"-wal is damaged .*at its end.*; restore it"):
                open_file(str(indexed))
        assert log.read_bytes() == given[:cut]
        assert "cannot be read" in str(damaged_log(str(indexed)))
        with pytest.raises(StoreDamaged, match="-wal is damaged"):
            back_up(str(indexed), f"{indexed}.copy")
    log.write_bytes(given)
    assert damaged_log(str(indexed)) is None
    assert ids(indexed) == names(range(COMMITS))


@pytest.mark.parametrize("content", [b"", bytes(2**15), b"\xff" * 2**15, b"x" * 50])
def test_index_that_is_none(indexed: Path, content: bytes) -> None:
    """After a power cut anything may be in it."""
    Path(f"{indexed}-shm").write_bytes(content)
    assert damaged_log(str(indexed)) is None
    assert ids(indexed) == names(range(COMMITS))


def test_index_of_another_log(killed: Path, tmp_path: Path) -> None:
    """Nor does one count that is of another log, or was written when this one was shorter."""
    file = open_file(str(tmp_path / "used"))
    shutil.copy(tmp_path / "used", killed)
    for number in range(COMMITS):
        file.write([numbered(number)])
        if number == 3:
            shutil.copy(tmp_path / "used-shm", tmp_path / "older")
    shutil.copy(tmp_path / "used-wal", f"{killed}-wal")
    file.close()
    taken_over(tmp_path / "another", tmp_path / "third", range(COMMITS + 5), "-shm")
    for index in ("older", "another-shm"):
        shutil.copy(tmp_path / index, f"{killed}-shm")
        assert damaged_log(str(killed)) is None
        shutil.copy(killed, tmp_path / "copy")
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{killed}{suffix}", tmp_path / f"copy{suffix}")
        assert ids(tmp_path / "copy") == names(range(COMMITS))


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
