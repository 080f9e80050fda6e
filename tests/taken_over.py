"""Database files that were taken from a daemon while it had them open, and their logs."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from kpiggybank.events import Columns, Event
from kpiggybank.stores.sqlite import rows
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file

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


def flipped(path: Path, place: int) -> None:
    """A bit of a page has changed."""
    [byte] = Path(f"{path}-wal").read_bytes()[place + 1000 : place + 1001]
    change(path, place + 1000, bytes([byte ^ 4]))
