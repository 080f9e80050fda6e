"""Copies of a SQLite file that is in use."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import apsw

from kpiggybank.interfaces import StoreDamaged, StoreUnavailable
from kpiggybank.stores.sequence import Sequence
from kpiggybank.stores.sqlite import rows
from kpiggybank.stores.sqlite.errors import DriverErrors
from kpiggybank.stores.sqlite.opening import connect_to_read, sync_folder
from kpiggybank.stores.sqlite.unfinished import PARTIAL, unfinished
from kpiggybank.stores.sqlite.wal import damaged_log

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
    if source.endswith(PARTIAL):  # it might be in the way, and removed
        raise StoreUnavailable(f"{source} has the name of an unfinished copy; give it another one")
    if (damage := damaged_log(source)) is not None:
        raise StoreDamaged(f"{damage}; see README, Damage")
    try:
        with unfinished(target) as partial:
            with DriverErrors(f"copy {source} to {target}"):
                count = _copy(source, partial)
            os.link(partial, target)  # which, unlike a renaming, replaces nothing
            _keep(target)
    except BlockingIOError:
        raise StoreUnavailable(f"{target} is just being made by another process") from None
    except OSError as error:
        name = error.filename2 or error.filename or target
        raise StoreUnavailable(f"cannot make {name}: {error.strerror}") from error
    return count


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
