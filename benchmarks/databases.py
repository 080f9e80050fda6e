"""Databases with many events in them, made once for all rows; and the events to be added."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec

from kpiggybank.events import Columns, Event
from kpiggybank.mint import Mint
from kpiggybank.sample import SignIns
from kpiggybank.stores.sqlite.insertion import Append
from kpiggybank.stores.sqlite.opening import open_file

MILLION = 1_000_000
HUNDRED_THOUSAND = 100_000
#: The timestamps: as of 100 events a second, in milliseconds.
FIRST_MS = 1_700_000_000_000
STEP_MS = 10
LAST_MS = FIRST_MS + (MILLION - 1) * STEP_MS

DB_NAME = "bid_kpi"

_FILLED_AT_ONCE = 5000
_TEXTS = 500


class Databases:
    """Folders with a database each, made as soon as a row asks for them.

    Args:
        folder: for all of them; it should be on a disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def empty(self) -> Path:
        """A new folder without a database."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    @cached_property
    def million(self) -> Path:
        """A million events, which are to stay as many."""
        folder = self.empty()
        _fill(database_in(folder), MILLION)
        return folder

    def million_more(self) -> Path:
        """A million events of its own for one who adds some."""
        folder = self.empty()
        copy = Path(shutil.copy(database_in(self.million), folder))
        with copy.open("rb") as file:
            os.fsync(file.fileno())  # lest the disk be busy with it while something is measured
        return folder

    def hundred_thousand(self) -> Path:
        """The first 100,000 of them."""
        folder = self.empty()
        _fill(database_in(folder), HUNDRED_THOUSAND)
        return folder


def database_in(folder: Path) -> Path:
    """The database of the daemon whose `DATA_DIR` it is."""
    return folder / f"{DB_NAME}.sqlite3"


def timestamp_of(number: int) -> int:
    """The timestamp of an event of those databases, by its number from 0."""
    return FIRST_MS + number * STEP_MS


def events(first: int) -> Iterator[tuple[int, bytes]]:
    """Timestamps and events without end; the timestamps ascend from that of a number."""
    texts = [
        msgspec.json.encode(event).partition(b",")[2] for event in SignIns(seed=1).take(_TEXTS)
    ]
    for number, text in zip(itertools.count(first), itertools.cycle(texts), strict=False):
        timestamp = timestamp_of(number)
        yield timestamp, b'{"timestamp":%d,%b' % (timestamp, text)


def _fill(path: Path, count: int) -> None:
    mint = Mint()
    made = (Event(mint(), timestamp, json) for timestamp, json in events(0))
    file = open_file(str(path))
    for _ in range(count // _FILLED_AT_ONCE):
        file.write([Append(Columns.of(list(itertools.islice(made, _FILLED_AT_ONCE))), ())])
    file.close()
