"""Where the log of a database is, and how long by the index beside it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from kpiggybank.interfaces import StoreDamaged, StoreUnavailable
from kpiggybank.stores.sqlite import opening
from kpiggybank.stores.sqlite.backup import back_up
from kpiggybank.stores.sqlite.checking import FileCheck
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.wal import damaged_log, missing_log
from tests.taken_over import (
    COMMITS,
    FRAME,
    HEADER,
    PAGE,
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


@pytest.fixture
def indexed(path: Path, tmp_path: Path) -> Path:
    """A file whose daemon was killed, and nothing else: the log has its index."""
    return taken_over(path, tmp_path / "first", range(COMMITS), "", "-wal", "-shm")


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


def test_log_is_shorter_than_its_index(indexed: Path) -> None:
    """Where only the daemon was killed, it is found if there are bytes missing at the log's end."""
    given, log = Path(f"{indexed}-wal").read_bytes(), Path(f"{indexed}-wal")
    cuts = [at for at, _ in frames(indexed)] + [HEADER + 1, len(given) - 1, len(given) - PAGE]
    for cut in [*range(HEADER), *cuts]:
        log.write_bytes(given[:cut])
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"-wal is damaged .*at its end.*; restore it"):
                open_file(str(indexed))
            if cut != HEADER:  # where SQLite waits for who seems to begin the log anew
                [damage, *_] = FileCheck(str(indexed)).findings()
                assert "-wal is damaged" in damage
        assert log.read_bytes() == given[:cut]
        assert "cannot be read" in str(damaged_log(str(indexed)))
        with pytest.raises(StoreDamaged, match="-wal is damaged"):
            back_up(str(indexed), f"{indexed}.copy")
    log.write_bytes(given)
    assert damaged_log(str(indexed)) is None
    assert ids(indexed) == names(range(COMMITS))


def test_log_is_gone(indexed: Path, warned: list[str]) -> None:
    """So it is found that a log was removed, or else told; check and backup leave it like that."""
    log = f"{indexed}-wal"
    os.unlink(log)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"-wal is damaged .it is gone.; restore it"):
            open_file(str(indexed))
        assert any("-wal is damaged" in line for line in FileCheck(str(indexed)).findings())
        with pytest.raises(StoreDamaged, match="-wal is damaged"):
            back_up(str(indexed), f"{indexed}.copy")
    os.utime(f"{indexed}-shm", (0, 0))
    assert list(FileCheck(str(indexed)).findings()) == []
    assert back_up(str(indexed), f"{indexed}.copy") == 0
    assert not os.path.exists(log)
    assert ids(indexed) == []
    [remark] = warned
    assert "the newest events are missing" in remark


def test_index_that_was_left(indexed: Path, tmp_path: Path) -> None:
    """A backup that was laid in the place of a file has no log, whatever the index says."""
    back_up(str(indexed), str(tmp_path / "copy"))
    index = Path(f"{indexed}-shm").read_bytes()
    os.replace(tmp_path / "copy", indexed)
    os.unlink(f"{indexed}-wal")
    Path(f"{indexed}-shm").write_bytes(index)
    assert damaged_log(str(indexed)) is None
    assert ids(indexed) == names(range(COMMITS))


def test_index_is_older_than_a_start(indexed: Path, tmp_path: Path) -> None:
    """After a start that merged the log, the disk may have an index that tells of it as it was."""
    index = Path(f"{indexed}-shm").read_bytes()
    file = open_file(str(indexed))
    copy = tmp_path / "copy"
    for suffix in ("", "-wal"):
        shutil.copy(f"{indexed}{suffix}", f"{copy}{suffix}")
    file.close()
    Path(f"{copy}-shm").write_bytes(index)
    assert damaged_log(str(copy)) is None
    assert ids(copy) == names(range(COMMITS))


@pytest.mark.parametrize("content", [b"", b"x" * 23, bytes(2**16), b"\xff" * 2**16])
def test_log_is_lost(indexed: Path, content: bytes) -> None:
    """So it is found that nothing is left of a log, unless its index is of before a power cut."""
    Path(f"{indexed}-wal").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"-wal is damaged .*; restore it"):
        open_file(str(indexed))
    assert "cannot be read" in str(damaged_log(str(indexed)))
    os.utime(f"{indexed}-shm", (0, 0))
    assert damaged_log(str(indexed)) is None
    assert ids(indexed) == []


def test_merged_log_is_lost(path: Path, tmp_path: Path) -> None:
    """Where all of it had been written to the database, nothing is missing."""
    file = open_file(str(tmp_path / "used"))
    for number in range(COMMITS):
        file.write([numbered(number)])
    file.checkpoint()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{tmp_path / 'used'}{suffix}", f"{path}{suffix}")
    file.close()
    assert len(frames(path)) > COMMITS
    os.truncate(f"{path}-wal", 0)
    assert damaged_log(str(path)) is None
    assert ids(path) == names(range(COMMITS))


@pytest.mark.parametrize("place", [2, 6, 9, 17, 24, 2000, FRAME - 1])
def test_last_commit_is_damaged(indexed: Path, place: int) -> None:
    """So is damage in the last commit, behind which there is none that would tell of it."""
    given, log = Path(f"{indexed}-wal").read_bytes(), Path(f"{indexed}-wal")
    index = Path(f"{indexed}-shm").read_bytes()
    *others, before, _ = (number for number, (_, ends) in enumerate(frames(indexed)) if ends)
    assert others
    for at, _ in frames(indexed)[before + 1 :]:
        damaged = bytearray(given)
        damaged[at + place] ^= 4
        log.write_bytes(damaged)
        Path(f"{indexed}-shm").write_bytes(index)
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"-wal is damaged .*; restore it"):
                open_file(str(indexed))
        assert log.read_bytes() == damaged
        assert "cannot be read" in str(damaged_log(str(indexed)))
    log.write_bytes(given)
    Path(f"{indexed}-shm").write_bytes(index)
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
