"""Where a database file and its log are while they are in use. Everything here blocks."""

from __future__ import annotations

import os

import attrs

from kpiggybank.interfaces import StoreBroken
from kpiggybank.stores.sqlite.statx import Sight, sight
from kpiggybank.stores.sqlite.wal import log_of


@attrs.define(eq=False)
class Place:
    """Notices when people take a file away, or its log.

    Args:
        path: the file; both are there.
        descriptor: of the file.

    Attributes:
        lost: whether one of them was not where it had been.
    """

    _path: str
    _descriptor: int
    lost: bool = attrs.field(default=False, init=False)
    _log_path: str = attrs.field(init=False)
    _file: Sight = attrs.field(init=False)
    _log: Sight = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        file = os.fstat(self._descriptor)
        self._file = Sight(file.st_dev, file.st_ino, file.st_size)
        self._log_path = log_of(self._path)
        self._log = sight(self._log_path)

    def look(self) -> tuple[int, int]:
        """The sizes of the file and of its log, in bytes.

        Raises:
            StoreBroken: what is written from now on could not be found.
        """
        return self._same(self._path, self._file), self._same(self._log_path, self._log)

    def _same(self, path: str, before: Sight) -> int:
        try:
            now = sight(path)
            if now[:2] == before[:2]:
                return now.size
        except OSError:
            pass
        self.lost = True
        raise StoreBroken(f"{path} was removed or replaced while it was in use")

    @property
    def has_name(self) -> bool:
        """Whether the file can be found under any name."""
        return os.fstat(self._descriptor).st_nlink > 0
