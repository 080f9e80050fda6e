"""A real file system on a disk that has less room than it says, and so fails to write."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

#: What the file system believes to have, and what its disk gets in the end.
MEGABYTES = 400
#: A loop device calls a write that fits in part a whole one (seen with Linux 6.18). With blocks of
#: 4 KiB, and no more of them at a time, there is no such write, and the disk is honest.
BLOCK_KILOBYTES = 4


class CannotMount(Exception):
    """This system has no such file systems, or they are not for us."""


def _command(*words: str | Path) -> str:
    try:
        done = subprocess.run(
            [str(word) for word in words], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMount(f"{error} {getattr(error, 'stderr', '')}") from error
    return done.stdout.strip()


@attrs.frozen
class ThinDisk:
    """An ext4 without a journal, in an image that has no content yet, in a tmpfs that is too small.

    What Linux cannot write there, it goes on showing until that is no longer in its memory.
    """

    _image: Path
    path: Path

    def grow(self) -> None:
        """Let the disk have all the room that it says it has."""
        _command("mount", "-o", f"remount,size={2 * MEGABYTES}m", self._image.parent)

    def mount(self) -> None:
        """Mount the file system."""
        _command("mount", "-o", "loop", self._image, self.path)
        device = Path(_command("findmnt", "-no", "SOURCE", self.path)).name
        try:
            most = Path("/sys/block", device, "queue/max_sectors_kb")
            most.write_text(str(BLOCK_KILOBYTES))
        except OSError as error:
            self.unmount()
            raise CannotMount(str(error)) from error

    def unmount(self) -> None:
        """Unmount it; nothing of it is in memory then."""
        _command("umount", self.path)


@contextmanager
def thin_disk(folder: Path, megabytes: int) -> Iterator[ThinDisk]:
    """A mounted disk with so much room; the test is skipped where none can be mounted."""
    room, path = folder / "room", folder / "disk"
    room.mkdir()
    path.mkdir()
    disk = ThinDisk(room / "image", path)
    with ExitStack() as stack:
        try:
            _command("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", room)
            stack.callback(_command, "umount", room)
            with (room / "image").open("wb") as image:
                image.truncate(MEGABYTES * 2**20)
            features = ("-O", "^has_journal", "-E", "lazy_itable_init=0")
            _command("mkfs.ext4", "-q", "-b", f"{BLOCK_KILOBYTES}k", *features, room / "image")
            disk.mount()
            stack.callback(disk.unmount)
        except CannotMount as error:
            pytest.skip(f"no image can be mounted: {error}")
        yield disk
