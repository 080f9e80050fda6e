"""What SQLite's errors are to everybody else."""

from __future__ import annotations

from types import TracebackType

import apsw
import attrs

from kpiggybank.interfaces import StoreBroken, StoreDamaged, StoreError, StoreFull, StoreUnavailable

#: After these nobody knows what of the unsynced is on the disk: Linux drops what it could not
#: write and reports that once, so that a second sync succeeds and proves nothing.
_FAILED_SYNCS = {apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC}

#: What a backup that fails has as its reason.
_NO_REASONS = {"", "not an error"}

#: SQLite tells of an error in reading the disk in the same words as of damage.
RESTORE = "restore it from a backup, unless the disk's log tells of errors (README, Damage)"


# As a generator it would cost a tenth of a small read.
@attrs.frozen
class DriverErrors:
    """Turns SQLite's errors into the store's own, at its border: use it in `with`.

    Args:
        doing: what cannot be done where there is one.
    """

    _doing: str

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, apsw.Error):
            raise translated(error, self._doing) from error


def translated(error: apsw.Error, doing: str) -> StoreError:
    """An error of SQLite's as one of the store's, when something cannot be done."""
    why = str(error)
    if why in _NO_REASONS:
        why = str(apsw.mapping_result_codes[getattr(error, "result", apsw.SQLITE_ERROR)])
    text = f"SQLite cannot {doing}: {why}"
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
                f"{text}; see whether its file system is read-only, and who owns"
                " the file, its folder, and -wal and -shm beside it"
            )
        case apsw.BusyError():
            return StoreUnavailable(f"{text}; another program is at work in it, try again")
        case _:
            return StoreUnavailable(text)
