"""A disk with little room: what is in the log can always be written to the database."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import apsw
import attrs
import pytest

from kpiggybank.events import Columns, Range
from kpiggybank.interfaces import StoreFull
from kpiggybank.stores.sqlite import connections
from kpiggybank.stores.sqlite.file import DatabaseFile
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.room import pages_of
from tests.feed_contract import events

PAGE = 4096


@attrs.define
class Disk:
    """What a disk tells of itself."""

    free_pages: int = 10**6
    blocks: int = 10**7

    def tell(self, descriptor: int) -> SimpleNamespace:
        """Stands for `os.fstatvfs`."""
        return SimpleNamespace(f_blocks=self.blocks, f_bavail=self.free_pages, f_frsize=PAGE)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk with much room, until the test says otherwise."""
    disk = Disk()
    monkeypatch.setattr(os, "fstatvfs", disk.tell)
    return disk


def some(count: int, name: str) -> list[Append]:
    """A group with one append of so many events."""
    return [Append(Columns.of(events(range(count), name)), ())]


def frames_to_merge(file: DatabaseFile) -> int:
    """What is only in the log."""
    frames, merged = file._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return frames - merged


def test_log_is_merged_before_the_room_ends(tmp_path: Path, disk: Disk) -> None:
    """Where there is just room for what the log has, it is written to the database first."""
    file = open_file(str(tmp_path / "bank.sqlite3"))
    for number in range(3):
        file.write(some(100, f"ample{number}"))
    waiting = frames_to_merge(file)
    assert waiting > 3
    disk.free_pages = waiting + 2 * pages_of(some(1, "x"), PAGE)
    file.write(some(1, "just"))
    assert frames_to_merge(file) > waiting
    file.write(some(1, "short"))
    assert frames_to_merge(file) < waiting
    assert file.count(Range()) == 302
    file.close()


def test_too_little_room(tmp_path: Path, disk: Disk) -> None:
    """What has no room in both is not taken; what has some is, and all is when there is more."""
    file = open_file(str(tmp_path / "bank.sqlite3"))
    disk.free_pages = 2 * pages_of(some(1, "x"), PAGE)
    with pytest.raises(StoreFull, match=r"too little room on the disk of .*; make room"):
        file.write(some(100, "many"))
    file.write(some(1, "one"))
    disk.free_pages -= 1
    with pytest.raises(StoreFull):
        file.write(some(1, "other"))
    disk.free_pages = 10**6
    file.write(some(100, "many"))
    assert file.count(Range()) == 101
    file.close()


def test_log_that_stayed(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a log has from before counts, too."""
    monkeypatch.setattr(connections, "BUSY_MILLISECONDS", 0)
    path = str(tmp_path / "bank.sqlite3")
    file = open_file(path)
    file.write(some(1, "first"))
    reader = apsw.Connection(path)  # as long as it reads what was, the log stays
    reader.execute("BEGIN; SELECT count(*) FROM event").fetchall()
    file.write(some(1000, "many"))
    file.abandon()
    file = open_file(path)
    assert frames_to_merge(file) > 3
    disk.free_pages = 2 * pages_of(some(1, "x"), PAGE) + 3
    with pytest.raises(StoreFull):
        file.write(some(1, "one"))
    reader.close()
    file.write(some(1, "one"))
    file.close()


def test_disk_that_tells_nothing(tmp_path: Path, disk: Disk) -> None:
    """Some file systems do not know how much room they have; it is tried then."""
    disk.free_pages = disk.blocks = 0
    file = open_file(str(tmp_path / "bank.sqlite3"))
    file.write(some(1, "one"))
    assert file.count(Range()) == 1
    file.close()
