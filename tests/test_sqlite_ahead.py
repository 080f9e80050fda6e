"""What a large commit has written is sent to the disk before it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from kpiggybank.events import Columns, Event
from kpiggybank.interfaces import StoreFull
from kpiggybank.stores.sqlite import ahead
from kpiggybank.stores.sqlite.file import DatabaseFile
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file
from kpiggybank.stores.sqlite.wal import damaged_log, frames_end
from tests.taken_over import PAGE, ids

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")


def large(first: int) -> Append:
    """A list of a thousand events."""
    text = b'{"timestamp":%d,"text":"' + b"x" * 300 + b'"}'
    some = range(first, first + 1000)
    return Append(Columns.of([Event(f"e{n:05}", n, text % n) for n in some]), ())


def names(count: int) -> list[str]:
    """The ids of so many of them."""
    return [f"e{number:05}" for number in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "bank.sqlite3"


@pytest.fixture
def file(path: Path) -> Iterator[DatabaseFile]:
    """A file that is open."""
    file = open_file(str(path))
    yield file
    file.close()


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the page is that was waited for, each time."""
    places: list[int] = []
    given = ahead._sync_file_range
    assert given is not None

    def seen(log: int, place: ctypes.c_int64, length: ctypes.c_int64, flags: int) -> int:
        if flags == ahead._WAIT_AFTER:
            places.append(place.value)
        found: int = given(log, place, length, flags)
        assert found == 0, os.strerror(ctypes.get_errno())
        return found

    monkeypatch.setattr(ahead, "_sync_file_range", seen)
    return places


def test_last_page_is_waited_for(file: DatabaseFile, waited: list[int]) -> None:
    """It is that before the frame of the commit, also when the log has begun anew."""
    ends = []
    for number in range(6):
        file.write([large(1000 * number)])
        ends.append(frames_end(file.log_frames - 1, PAGE))
        if number == 3:
            file.checkpoint()
            file.rewind()
    assert ends == sorted(ends[:4]) + sorted(ends[4:])
    assert ends[4] < ends[3]
    assert waited == [(end - 1) // PAGE * PAGE for end in ends]


def test_small_commits_are_not_sent(file: DatabaseFile, waited: list[int]) -> None:
    """They would only take longer."""
    events = large(0).events
    file.write([Append(Columns.of(list(events)[:9]), ())])
    assert waited == []


def test_undone_after_all(
    path: Path, tmp_path: Path, file: DatabaseFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent and not committed is nobody's, and no damage."""
    file.write([large(0)])
    send: Callable[[ahead.Ahead, int], None] = ahead.Ahead.send

    def fail(self: ahead.Ahead, frames: int) -> None:
        send(self, frames)
        other = apsw.Connection(str(path))
        assert other.execute("SELECT count(*) FROM event").get == 1000
        other.close()
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ahead.Ahead, "send", fail)
        with pytest.raises(StoreFull):
            file.write([large(1000)])
    copy = tmp_path / "copy.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    assert damaged_log(str(copy)) is None
    assert ids(copy) == names(1000)
    file.write([large(1000)])
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    assert ids(copy) == names(2000)


def test_system_without_it(path: Path, file: DatabaseFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is written by the commit."""
    monkeypatch.setattr(ahead, "_sync_file_range", None)
    file.write([large(0)])
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM event").get == 1000
    connection.close()
