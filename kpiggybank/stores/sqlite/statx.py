"""What a file is and how large, without asking when it was changed.

Linux 6.13 and later keep the time of a file's last change to the tick, and exactly only where
somebody has asked for it since the change before ("multigrain timestamps"). To ask after each
commit, as `os.stat` does, makes each commit change the file's inode. On ext4 without a journal
`fdatasync` writes that, too: a third of its time.
Python has `os.statx` since 3.15: https://docs.python.org/3.15/library/os.html#os.statx
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from kpiggybank.stores.sqlite import libc

# <fcntl.h> and <linux/stat.h>; of `struct statx` the inode, the size and the device's two parts.
_AT_FDCWD = -100
_STATX_INO_SIZE = 0x100 | 0x200
_STATX = struct.Struct("=32xQQ88xII112x")
_Buffer = ctypes.c_char * _STATX.size


class Sight(NamedTuple):
    """What was seen of a file.

    Attributes:
        device: as `os.stat_result.st_dev`.
        inode: as `st_ino`.
        size: in bytes.
    """

    device: int
    inode: int
    size: int


_statx = libc.function("statx")


def sight(path: str) -> Sight:
    """Look at a file, or at what a symbolic link leads to; raises OSError. It blocks."""
    if _statx is not None:
        seen = _Buffer()
        if _statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_INO_SIZE, seen) == 0:
            inode, size, major, minor = _STATX.unpack(seen)
            return Sight(os.makedev(major, minor), inode, size)
    # Also where that fails: it may be forbidden, as some containers do, and this says why.
    found = os.stat(path)
    return Sight(found.st_dev, found.st_ino, found.st_size)
