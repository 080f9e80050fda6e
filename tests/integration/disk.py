"""The test's side of a disk that fails when it is told to; `faulty_disk` is the daemon's side."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path

import attrs

#: For the process: `PRAGMA synchronous`, whatever the program says; proves that the rig notices.
SYNCHRONOUS = "FAULTY_DISK_SYNCHRONOUS"
#: For the process: frames of the log after which they are written to the database.
CHECKPOINT = "FAULTY_DISK_CHECKPOINT"


class Fault(StrEnum):
    """What a file of this name in the folder makes the disk do."""

    FULL = "full"  # as long as the file is there, nothing can be written
    # Those below happen once, and the file is gone then.
    MAIN_SYNC = "main-sync"  # a sync of the database's own file fails
    WAL_SYNC = "wal-sync"  # a sync of the write-ahead log fails
    DEATH = "death"  # a sync of any file never returns: the process is killed


@attrs.frozen
class Disk:
    """A folder by which the disk of a daemon is steered."""

    folder: Path

    @property
    def runner(self) -> tuple[str, ...]:
        """The command that runs a daemon on the disk."""
        self.folder.mkdir(exist_ok=True)
        module = "tests.integration.faulty_disk"
        return (sys.executable, "-m", module, str(self.folder), "-n", "--pidfile=")

    @property
    def state(self) -> Path:
        """The folder of its `Platter`."""
        return self.folder / "platter"

    def begin(self, fault: Fault, after: int = 0) -> None:
        """Let it fail from now on, or once so many syncs have gone well."""
        self.folder.mkdir(exist_ok=True)
        # Whole at once: the daemon may look at any moment.
        fresh = self.folder / "fresh"
        fresh.write_text(str(after))
        fresh.replace(self.folder / fault)

    def end(self, fault: Fault) -> None:
        """Let it be well again."""
        (self.folder / fault).unlink()

    def has(self, fault: Fault) -> bool:
        """Whether a fault is still to come, or goes on."""
        return (self.folder / fault).exists()

    def comes(self, fault: Fault) -> bool:
        """Whether a fault that happens once happens now; it is used up then."""
        try:
            after = int((self.folder / fault).read_text())
        except FileNotFoundError:
            return False
        if after:
            self.begin(fault, after - 1)
        else:
            self.end(fault)
        return not after
