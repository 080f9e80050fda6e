"""The pages of a large commit, sent to the disk ahead of it. Everything here blocks.

`fdatasync` waits for one page after the other, and wakes the thread whenever the disk is done with
a few of them: some forty times for 2,000 events. On a core that has something else to do, each time
takes it from another thread for nothing: a twentieth of all that it costs to store the events. So
what a transaction has written is sent before its commit, and the last page is waited for. Then the
commit syncs everything as ever, and has hardly anything to wait for.

Nothing relies on it. An error is told by the sync that follows: since Linux 4.13 each descriptor of
a file hears of it, whoever has waited before. https://docs.kernel.org/core-api/errseq.html
"""

from __future__ import annotations

import ctypes
import mmap
import os

import apsw
import attrs

from kpiggybank.stores.sqlite import libc
from kpiggybank.stores.sqlite.wal import frames_end, log_of

#: Of a commit for which it is worth while, as `room.pages_of` counts them.
LARGE_PAGES = 500

# <linux/fs.h>
_WRITE, _WAIT_AFTER = 2, 4
#: As place and as length.
_ALL = ctypes.c_int64(0)

_sync_file_range = libc.function("sync_file_range")


@attrs.define(eq=False)
class Ahead:
    """Sends ahead what a transaction has written.

    Args:
        connection: which writes; the database has a log.
        path: of the database.
    """

    _connection: apsw.Connection
    _path: str
    _page_size: int = attrs.field(init=False)
    _log: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._page_size = self._connection.pragma("page_size")
        self._log = os.open(log_of(self._path), os.O_RDONLY | os.O_CLOEXEC)

    def send(self, frames: int) -> None:
        """Have on the disk what a transaction has written; it can still be undone.

        Args:
            frames: of the log, after which that is; with another number, another page is waited
                for.

        Raises:
            apsw.Error: it cannot be written.
        """
        if _sync_file_range is None:
            return
        before = self._pages_written
        self._connection.cache_flush()
        end = frames_end(frames + self._pages_written - before, self._page_size)
        _sync_file_range(self._log, _ALL, _ALL, _WRITE)
        last_page = ctypes.c_int64((end - 1) // mmap.PAGESIZE * mmap.PAGESIZE)
        _sync_file_range(self._log, last_page, ctypes.c_int64(mmap.PAGESIZE), _WAIT_AFTER)

    @property
    def _pages_written(self) -> int:
        count, _ = self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)
        return count

    def close(self) -> None:
        """Let go of the log."""
        os.close(self._log)
