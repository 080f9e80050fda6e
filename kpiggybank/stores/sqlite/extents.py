"""Where on the disk a file is, and whether it was written there. Everything here blocks.

Linux tells it of ext4, XFS, btrfs and others: https://docs.kernel.org/filesystems/fiemap.html
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

# <linux/fs.h> and <linux/fiemap.h>: what is asked for from where to where, how many extents were
# told and may be; then of each the place in the file, the length and the flags.
_FS_IOC_FIEMAP = 0xC020660B
_ASKED = struct.Struct("=QQ4xII4x")
_EXTENT = struct.Struct("=Q8xQ16xI12x")
_UNWRITTEN = 0x800
#: Extents that are told at once.
_COUNT = 500


def has_unwritten(descriptor: int) -> bool:
    """Whether a part of a file has a place on the disk, and nothing has been written there.

    After a sync, and where nobody takes room beforehand, that is what could not be written. Also
    False where the system cannot tell.
    """
    place, size = 0, os.fstat(descriptor).st_size
    with suppress(OSError):
        while place < size:
            told = bytearray(_ASKED.size + _COUNT * _EXTENT.size)
            _ASKED.pack_into(told, 0, place, size - place, 0, _COUNT)
            fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, told)
            count = _ASKED.unpack_from(told)[2]
            extents = list(_EXTENT.iter_unpack(told[_ASKED.size :]))[:count]
            if any(flags & _UNWRITTEN for _, _, flags in extents):
                return True
            if count < _COUNT:
                break
            start, length, _ = extents[-1]
            place = start + length
    return False
