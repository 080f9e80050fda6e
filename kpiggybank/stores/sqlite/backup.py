"""Copies of a SQLite file that is in use."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from kpiggybank.interfaces import StoreDamaged, StoreUnavailable
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import rows
from kpiggybank.stores.sqlite.errors import DriverErrors
from kpiggybank.stores.sqlite.opening import connect_to_read, sync_folder
from kpiggybank.stores.sqlite.wal import damaged_log

#: What the name of a copy ends with until it is complete.
PARTIAL = ".kpiggybank-partial"

# The copy lives on its own: what it numbers from here on is not what the original does.
_NEW_LIFE = """
    INSERT INTO ancestor SELECT generation, (SELECT coalesce(max(seq), 0) FROM event) FROM bank;
    UPDATE bank SET generation = '{}';
"""


def back_up(source: str, target: str) -> int:
    """Copy a file with all that was acknowledged before, while a daemon may write to it.

    The copy is synced to the disk, and has the target's name only when it is complete. Before that,
    it has another one, of which whatever a killed process has left there is removed.

    Returns:
        how many events it holds.

    Raises:
        StoreUnavailable: it cannot be made, or there is a target already.
        StoreDamaged: the source is damaged.
    """
    if os.path.lexists(target):
        raise StoreUnavailable(f"{target} is there already")
    if (damage := damaged_log(source)) is not None:
        raise StoreDamaged(f"{damage}; see README, Damage")
    try:
        with _claimed(f"{target}{PARTIAL}") as partial:
            with DriverErrors(f"copy {source} to {target}"):
                count = _copy(source, partial)
            os.link(partial, target)  # which, unlike a renaming, replaces nothing
            _keep(target)
    except BlockingIOError:
        raise StoreUnavailable(f"{target} is just being made by another process") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot make {target}: {error.strerror}") from error
    return count


@contextmanager
def _claimed(path: str) -> Iterator[str]:
    """A new file, which is locked as long as it is in use, and then removed.

    Raises:
        BlockingIOError: another process uses it.
    """
    with suppress(FileNotFoundError), _locked(path, os.O_RDONLY | os.O_NOFOLLOW):
        _remove(path)
    # Whoever may not read the original may not read the copy.
    with _locked(path, os.O_CREAT | os.O_EXCL):
        try:
            yield path
        finally:
            _remove(path)


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


def _keep(target: str) -> None:
    """Have the name of a copy on the disk, or take it away again."""
    try:
        sync_folder(Path(target).absolute().parent)
    except OSError:
        os.unlink(target)
        raise


def _copy(source: str, partial: str) -> int:
    with (
        closing(connect_to_read(source)) as original,
        closing(apsw.Connection(partial)) as copy,
    ):
        # In one step: if it were made in several, each commit in between would begin it anew.
        with copy.backup("main", original, "main") as backup:
            backup.step()
        copy.pragma("journal_mode", "delete")  # so that it is one file; a daemon changes it back
        with copy:
            copy.execute(_NEW_LIFE.format(Sequence().generation))
        # Indexes too: of what one has lost, a copy would know as little as a range or a count.
        found = copy.execute("PRAGMA integrity_check(1)").get
        if found != "ok":
            raise apsw.CorruptError(found)
        removed: int = copy.execute("SELECT removed FROM bank").get
        return rows.greatest(copy) - removed
