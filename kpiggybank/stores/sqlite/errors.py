"""What SQLite's errors are to everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from kpiggybank.interfaces import StoreBroken, StoreDamaged, StoreError, StoreFull, StoreUnavailable

#: After these nobody knows what of the unsynced is on the disk: Linux drops what it could not
#: write and reports that once, so that a second sync succeeds and proves nothing.
_FAILED_SYNCS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}

#: What a backup that fails has as its reason.
_NO_REASON = "not an error"

RESTORE = "restore it from a backup (README, Damage)"


@contextmanager
def driver_errors(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into the store's own, at its border."""
    try:
        yield
    except apsw.Error as error:
        why = str(error)
        if why == _NO_REASON:
            why = str(apsw.exception_for(getattr(error, "result", apsw.SQLITE_ERROR)))
        raise _translated(error, f"SQLite cannot {doing}: {why}") from error


def _translated(error: apsw.Error, text: str) -> StoreError:
    # Not every error has one.
    if getattr(error, "extendedresult", None) in _FAILED_SYNCS:
        return StoreBroken(f"{text}; the disk did not sync, see its log, then start again")
    match error:
        case apsw.FullError():
            return StoreFull(f"{text}; make room")
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreDamaged(f"{text}; {RESTORE}")
        case apsw.IOError():
            return StoreUnavailable(f"{text}; see whether the disk is full, or fails")
        case apsw.CantOpenError() | apsw.ReadOnlyError():
            return StoreUnavailable(
                f"{text}; see who owns the file, its folder, and -wal and -shm beside it"
            )
        case apsw.BusyError():
            return StoreUnavailable(f"{text}; another program is at work in it, try again")
        case _:
            return StoreUnavailable(text)
