"""Files that have another name until they are complete. Everything here blocks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: What their names end with until then.
PARTIAL = ".kpiggybank-partial"


@contextmanager
def unfinished(path: str) -> Iterator[str]:
    """The name of a new database file, which is locked as long as it is in use, and then removed.

    Whoever has completed it gives it the name that it shall have by a link. What a killed process
    has left is removed before: the name, for the file may have another one by now.

    Args:
        path: the name that it shall have.

    Raises:
        BlockingIOError: another process uses it.
        OSError: it cannot be made.
    """
    partial = f"{path}{PARTIAL}"
    with suppress(FileNotFoundError):
        _remove_left(partial)
    # Whoever may not read the original of a copy may not read the copy.
    with _locked(partial, os.O_CREAT | os.O_EXCL):
        try:
            yield partial
        finally:
            _remove(partial)


def _remove_left(partial: str) -> None:
    if os.lstat(partial).st_nlink > 1:  # it is complete, and may be in use by its other name
        _remove(partial)
        return
    with _locked(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK):
        _remove(partial)


@contextmanager
def _locked(path: str, flags: int) -> Iterator[None]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            raise BlockingIOError  # who had it has removed it, and another one has come
        yield
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    for suffix in ("-journal", "-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)
