"""Where a database file and its log are while they are in use. Everything here blocks."""

from __future__ import annotations

import os
from contextlib import suppress

import attrs

from kpiggybank.interfaces import StoreBroken
from kpiggybank.stores.sqlite.extents import has_unwritten
from kpiggybank.stores.sqlite.statx import Sight, sight
from kpiggybank.stores.sqlite.wal import index_of, log_of


@attrs.define(eq=False)
class Place:
    """Notices when people take a file away, or its log, or the index of that.

    Args:
        path: the file; all three are there.
        descriptor: of the file.

    Attributes:
        lost: whether the file or its log was not where it had been.
    """

    _path: str
    _descriptor: int
    lost: bool = attrs.field(default=False, init=False)
    _log_path: str = attrs.field(init=False)
    _file: Sight = attrs.field(init=False)
    _log: Sight = attrs.field(init=False)
    _index_path: str = attrs.field(init=False)
    _index: Sight = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        file = os.fstat(self._descriptor)
        self._file = Sight(file.st_dev, file.st_ino, file.st_size)
        self._log_path = log_of(self._path)
        self._log = sight(self._log_path)
        self._index_path = index_of(self._path)
        self._index = sight(self._index_path)

    def look(self) -> tuple[int, int]:
        """The sizes of the file and of its log, in bytes.

        Raises:
            StoreBroken: what is written from now on could not be found.
        """
        try:
            sizes = _same(self._path, self._file), _same(self._log_path, self._log)
        except StoreBroken:
            self.lost = True
            raise
        # The locks are there, too: others would make a new one, and not know of this process.
        _same(self._index_path, self._index)
        return sizes

    def forget(self) -> None:
        """Have whoever looks at the file and its log next see what is on the disk.

        What Linux could not write, it goes on showing as long as that is in memory. And on ext4
        without a journal, what is then written over it is gone as well, though its sync succeeds.
        So all of it is taken from memory; whether it can be synced before is of no interest here.
        """
        with suppress(OSError), open(self._log_path, "rb") as log:
            _sync(log.fileno())
            _forget(log.fileno())
        _sync(self._descriptor)
        _forget(self._descriptor)

    @property
    def has_name(self) -> bool:
        """Whether the file can be found under any name."""
        return os.fstat(self._descriptor).st_nlink > 0


def _same(path: str, before: Sight) -> int:
    """The size of a file that is where it was, in bytes; raises StoreBroken where it is not."""
    with suppress(OSError):
        now = sight(path)
        if now[:2] == before[:2]:
            return now.size
    raise StoreBroken(f"{path} was removed or replaced while it was in use")


def forget_unsynced(descriptor: int, log_path: str) -> None:
    """See `Place.forget`: it is done if a file, or its log, could not be written, by whomever.

    If nobody has been told, that is told to who opens the file next, and syncs it. Who was told may
    have been killed before it forgot; then what has a place on the disk was not written there.
    """
    with suppress(OSError), open(log_path, "rb") as log:
        _forget_unsynced(log.fileno())
    _forget_unsynced(descriptor)


def _forget_unsynced(descriptor: int) -> None:
    if not _sync(descriptor) or has_unwritten(descriptor):
        _forget(descriptor)


def _sync(descriptor: int) -> bool:
    try:
        os.fsync(descriptor)
    except OSError:
        return False
    return True


def _forget(descriptor: int) -> None:
    with suppress(OSError, AttributeError):  # another system
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
