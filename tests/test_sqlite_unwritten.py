"""What could not be written is not believed: the kernel may show it, and the disk not have it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from kpiggybank.interfaces import StoreBroken
from kpiggybank.stores.sqlite.extents import has_unwritten
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.place import Place
from tests.taken_over import COMMITS, PAGE, numbered, taken_over


def give_room(path: Path) -> None:
    """Make a file longer by what has a place on the disk and is not written there."""
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, PAGE)
        if not has_unwritten(file.fileno()):
            pytest.skip("this file system tells nothing of it")


def unwritten(path: Path) -> bool:
    """Whether a file has such a part."""
    with path.open("rb") as file:
        return has_unwritten(file.fileno())


@pytest.mark.parametrize("parts", [0, 1, 600])
def test_unwritten(tmp_path: Path, parts: int) -> None:
    """Holes are none, nor is what was written in between, however many parts that are."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        for part in range(parts):
            os.pwrite(file.fileno(), b"x", 2 * part * PAGE)
        os.ftruncate(file.fileno(), 2 * parts * PAGE)
        os.fsync(file.fileno())
    assert not unwritten(path)
    give_room(path)
    assert unwritten(path)
    with path.open("rb+") as file:
        os.pwrite(file.fileno(), b"x" * PAGE, 2 * parts * PAGE)
        os.fsync(file.fileno())
    assert not unwritten(path)


def test_system_that_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is known to be unwritten."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    error = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    monkeypatch.setattr(fcntl, "ioctl", Mock(side_effect=error))
    assert not unwritten(path)


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Which files the kernel was told to have no more in memory."""
    inodes: set[int] = set()

    def forget(descriptor: int, begin: int, length: int, advice: int) -> None:
        assert (begin, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        inodes.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "posix_fadvise", forget)
    return inodes


def both(path: Path) -> set[int]:
    """A file and its log."""
    return {path.stat().st_ino, Path(f"{path}-wal").stat().st_ino}


def test_what_was_not_written_is_not_shown(
    tmp_path: Path, forgotten: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel has in memory need not be on the disk; it is forgotten before one is told."""
    path = tmp_path / "bank.sqlite3"
    file = open_file(str(path))
    inodes = both(path)
    with monkeypatch.context() as patched, pytest.raises(StoreBroken, match="failed"):
        patched.setattr(Place, "look", Mock(side_effect=StoreBroken("failed")))
        file.write([numbered(1)])
    assert forgotten == inodes
    forgotten.clear()
    file.abandon()
    assert forgotten == inodes
    forgotten.clear()
    open_file(str(path)).close()
    assert not forgotten


@pytest.mark.parametrize("written", [True, False])
def test_nobody_was_told(
    tmp_path: Path, forgotten: set[int], monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """Who was killed may not have heard of an error; then a start does, and believes the disk."""
    path = taken_over(tmp_path / "bank.sqlite3", tmp_path / "first", range(COMMITS), "", "-wal")
    inodes, given = both(path), os.fsync
    untold = set() if written else set(inodes)

    def sync(descriptor: int) -> None:
        if (inode := os.fstat(descriptor).st_ino) in untold:
            untold.remove(inode)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        given(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    open_file(str(path)).close()
    assert forgotten == (set() if written else inodes)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_who_was_told_was_killed(tmp_path: Path, forgotten: set[int], suffix: str) -> None:
    """Then nobody is told any more, but it can be seen that something was not written."""
    path = taken_over(tmp_path / "bank.sqlite3", tmp_path / "first", range(COMMITS), "", "-wal")
    unsure = Path(f"{path}{suffix}")
    give_room(unsure)
    inode = unsure.stat().st_ino
    open_file(str(path)).close()
    assert forgotten == {inode}
