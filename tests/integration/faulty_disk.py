"""Runs twistd on a disk that fails when it is told to: `python -m ... FOLDER [twistd's options]`.

The disk is a VFS under SQLite, which the program above does not know of. FOLDER is where the test
steers it, by files that are looked at in each call (see `disk`), and where it keeps what a power
cut would leave (see `platter`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import apsw
from twisted.scripts.twistd import run

from kpiggybank.stores.sqlite import store
from tests.integration.disk import CHECKPOINT, SYNCHRONOUS, Disk, Fault
from tests.integration.platter import Change, Inode, Platter

#: How SQLite's own layer for this system is called, on which ours stands.
BASE = "unix"

#: SQLite's name for what each file is, and ours. Others, all of them temporary, never fail.
KINDS = {
    apsw.SQLITE_OPEN_MAIN_DB: "main",
    apsw.SQLITE_OPEN_MAIN_JOURNAL: "journal",
    apsw.SQLITE_OPEN_WAL: "wal",
}


class FaultyFile(apsw.VFSFile):
    """An open file of the database."""

    def __init__(
        self,
        name: str | apsw.URIFilename,
        flags: list[int],
        kind: str,
        disk: Disk,
        inode: Inode,
        platter: Platter,
    ) -> None:
        super().__init__(BASE, name, flags)
        self._kind = kind
        self._disk = disk
        self._inode = inode
        self._platter = platter
        # SQLite syncs the directory with the first sync of a log that it may have made.
        self._names_unsynced = kind != "main"

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, if there is room."""
        if self._disk.has(Fault.FULL):
            raise apsw.exception_for(apsw.SQLITE_FULL)
        with self._inode.lock:
            self._inode.note(Change(offset, len(data), data))
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        """Cut off the end."""
        with self._inode.lock:
            self._inode.note(Change(-1, newsize))
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        """Sync, or fail to."""
        if self._disk.comes(Fault.DEATH):
            os.kill(os.getpid(), signal.SIGKILL)
        once = {"main": Fault.MAIN_SYNC, "wal": Fault.WAL_SYNC}.get(self._kind)
        with self._inode.lock:
            if once is not None and self._disk.comes(once):
                self._inode.lose()
                raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
            super().xSync(flags)
            self._inode.sync()
        if self._names_unsynced:
            self._platter.sync_names()
            self._names_unsynced = False


class FaultyDisk(apsw.VFS):
    """The layer under SQLite, for every connection of this process."""

    def __init__(self, disk: Disk) -> None:
        super().__init__("faulty", BASE, makedefault=True)
        self._disk = disk
        self._platter = Platter(disk.state)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open a file."""
        kind = next((kind for flag, kind in KINDS.items() if flags[0] & flag), None)
        if name is None or kind is None:
            return apsw.VFSFile(BASE, name, flags)
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        return FaultyFile(name, flags, kind, self._disk, self._platter.file(path), self._platter)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Delete a file."""
        self._platter.delete(Path(filename))
        super().xDelete(filename, syncdir)
        if syncdir:
            self._platter.sync_names()


def _set_up(environ: Mapping[str, str]) -> None:
    if frames := environ.get(CHECKPOINT):
        store.CHECKPOINT_FRAMES = int(frames)

    def deny(action: int, name: str | None, *details: str | None) -> int:
        ours = action == apsw.SQLITE_PRAGMA and name == "synchronous"
        return apsw.SQLITE_IGNORE if ours else apsw.SQLITE_OK

    def hook(connection: apsw.Connection) -> None:
        if level := environ.get(SYNCHRONOUS):
            connection.pragma("synchronous", level)
            connection.authorizer = deny

    apsw.connection_hooks.append(hook)


def main() -> None:
    """Put the disk in its place, then be twistd."""
    folder = Path(sys.argv.pop(1))
    disk = FaultyDisk(Disk(folder))
    _set_up(os.environ)
    run()
    del disk


if __name__ == "__main__":
    main()
