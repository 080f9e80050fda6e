"""The room that a database takes, and that is left on its disk."""

from __future__ import annotations

import os
from contextlib import suppress

from kpiggybank.interfaces import Space, StoreUnavailable


def space_of(path: str, trouble: str | None) -> Space:
    """The room on the disk of a database file; to be asked in a thread, as a disk may be slow.

    Args:
        path: of the file.
        trouble: with it.

    Raises:
        StoreUnavailable: the disk does not tell; the text is one line.
    """
    try:
        used = os.stat(path).st_size
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                used += os.stat(os.path.realpath(path) + suffix).st_size
        disk = os.statvfs(path)
    except OSError as error:
        raise StoreUnavailable(f"the disk of {path} cannot be looked at: {error}") from error
    return Space(used, disk.f_bavail * disk.f_frsize, trouble)
