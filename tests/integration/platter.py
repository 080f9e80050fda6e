"""What a disk would hold if the power went now: the bytes that were synced, and no others.

`Platter` is kept beside the real files by the process that writes them, in files of its own, so
that it outlives a SIGKILL; `cut_power` then makes the real files what a power cut would leave.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import attrs

#: A write may be torn at multiples of this only: disks write whole sectors.
SECTOR_BYTES = 512

#: Before each entry of a log: the place of a write, or -1 for a truncation; then its length.
_HEAD = struct.Struct(">qq")


@attrs.frozen
class Change:
    """A write at a place of a file; with a place of -1, a truncation to `size` bytes."""

    place: int
    size: int
    content: bytes = b""

    def apply(self, descriptor: int) -> None:
        """Make it happen to an open file."""
        if self.place < 0:
            os.ftruncate(descriptor, self.size)
        else:
            os.pwrite(descriptor, self.content, self.place)

    def torn(self, chance: Random) -> Change:
        """Only the first sectors of it, or only the last."""
        middle = SECTOR_BYTES * chance.randint(0, self.size // SECTOR_BYTES)
        if self.place < 0:
            return self
        if chance.random() < 0.5:
            return Change(self.place, middle, self.content[:middle])
        return Change(self.place + middle, self.size - middle, self.content[middle:])


class Inode:
    """A file as a name may lead to it: what was synced of it, and a log of what was not.

    Args:
        stem: where its two files are, without their suffixes.
    """

    def __init__(self, stem: Path) -> None:
        self._synced = stem.with_suffix(".synced")
        self._unsynced = stem.with_suffix(".unsynced")
        self._content = os.open(self._synced, os.O_RDWR | os.O_CREAT)
        self._log = os.open(self._unsynced, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        #: For what is done to the real file together with this one: threads share it.
        self.lock = threading.Lock()

    def adopt(self, path: Path) -> None:
        """Take what a file holds now as synced."""
        shutil.copyfile(path, self._synced)

    def note(self, change: Change) -> None:
        """Keep what was done to the real file, not synced yet."""
        os.writev(self._log, [_HEAD.pack(change.place, change.size), change.content])

    def sync(self) -> None:
        """Bring all to the disk; a process killed half-way leaves a part, as disks do."""
        for change in self.unsynced():
            change.apply(self._content)
        self.lose()

    def lose(self) -> None:
        """What was not synced never will be: so it is on Linux after an fsync that failed."""
        os.ftruncate(self._log, 0)

    def unsynced(self) -> Iterator[Change]:
        """What was done since the last sync; a last entry that is not whole counts as not done."""
        log = self._unsynced.read_bytes()
        start = 0
        while start + _HEAD.size <= len(log):
            place, size = _HEAD.unpack_from(log, start)
            start += _HEAD.size
            content = log[start : start + size] if place >= 0 else b""
            if place >= 0 and len(content) < size:
                return
            yield Change(place, size, content)
            start += len(content)

    def survive(self, path: Path, changes: list[Change]) -> None:
        """Make the real file of what was synced, and of some of what was not."""
        shutil.copyfile(self._synced, path)
        descriptor = os.open(path, os.O_RDWR)
        try:
            for change in changes:
                change.apply(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close its files."""
        os.close(self._content)
        os.close(self._log)


class Platter:
    """The synced state of the files of one folder, of one process at a time.

    Names are kept as a file system keeps them: `live` is what programs see, `durable` what a
    directory sync has brought to the disk. What is there before it is first used counts as synced,
    but for an empty file, which may have been made a moment ago.

    Args:
        folder: its own files; with what an earlier process left in them it goes on.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._index = folder / "names.json"
        self._inodes: dict[int, Inode] = {}
        self._lock = threading.RLock()
        names = json.loads(self._index.read_text()) if self._index.exists() else {}
        self._live: dict[str, int] = names.get("live", {})
        self._durable: dict[str, int] = names.get("durable", {})
        self._made: int = names.get("made", 0)

    def file(self, path: Path) -> Inode:
        """The file of this name; before it is opened, created or deleted."""
        with self._lock:
            number = self._live.get(str(path))
            if number is None:
                self._made += 1
                number = self._live[str(path)] = self._made
                inode = self._inode(number)
                if path.exists() and path.stat().st_size:
                    inode.adopt(path)
                    self._durable[str(path)] = number
                self._keep()
            return self._inode(number)

    def delete(self, path: Path) -> None:
        """A name is gone, for the time being."""
        with self._lock:
            self.file(path)
            del self._live[str(path)]
            self._keep()

    def sync_names(self) -> None:
        """The directory has been synced."""
        with self._lock:
            if self._durable != self._live:
                self._durable = dict(self._live)
                self._keep()

    def survivors(self, chance: Random | None) -> dict[str, Inode]:
        """Which names lead where after a power cut; with a chance, unsynced ones may be there."""
        names = dict(self._durable)
        for name in sorted(self._durable | self._live):
            if chance is not None and chance.random() < 0.5:
                names.pop(name, None)
                if name in self._live:
                    names[name] = self._live[name]
        return {name: self._inode(number) for name, number in names.items()}

    def close(self) -> None:
        """Close all files."""
        for inode in self._inodes.values():
            inode.close()

    def _inode(self, number: int) -> Inode:
        if number not in self._inodes:
            self._inodes[number] = Inode(self._folder / str(number))
        return self._inodes[number]

    def _keep(self) -> None:
        fresh = self._index.with_suffix(".new")
        names = {"live": self._live, "durable": self._durable, "made": self._made}
        fresh.write_text(json.dumps(names))
        fresh.replace(self._index)


def cut_power(folder: Path, stem: str, state: Path, chance: Random | None = None) -> str:
    """Make of a killed daemon's files what a power cut would have left; tells what was done.

    Args:
        folder: of the real files.
        stem: with which their names begin.
        state: the folder of the platter, which is removed.
        chance: None drops all that was not synced; else chance keeps some of it, one part torn.
    """
    platter = Platter(state)
    try:
        for path in folder.glob(f"{stem}*"):
            path.unlink()
        story = []
        for name, inode in platter.survivors(chance).items():
            changes = list(inode.unsynced())
            kept = _some(changes, chance) if chance is not None else []
            inode.survive(Path(name), kept)
            story.append(f"{Path(name).name}: {len(kept)} of {len(changes)} unsynced kept")
        return "; ".join(story)
    finally:
        platter.close()
        shutil.rmtree(state)


def _some(changes: list[Change], chance: Random) -> list[Change]:
    share = chance.choice((0.1, 0.5, 0.9, 1))
    kept = [change for change in changes if chance.random() < share]
    if kept and chance.random() < 0.7:
        torn = chance.randrange(len(kept))
        kept[torn] = kept[torn].torn(chance)
    return kept
