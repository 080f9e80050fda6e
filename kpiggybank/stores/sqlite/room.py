"""Room on the disk for what the log holds. Everything here blocks.

What is in the log must have room in the database as well, or it can never be written there. Where
a disk has nothing else on it, the log would take its last room, and neither could events be taken
any more, nor old ones be removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence as Seq

from kpiggybank.stores.sqlite.insertion import Append

#: Pages that change with each group, however small it is.
_FEW_PAGES = 8


def has_room(descriptor: int, size: int) -> bool:
    """Whether so many bytes have room on the disk of a file, as far as the disk knows."""
    disk = os.fstatvfs(descriptor)
    return disk.f_blocks == 0 or disk.f_bavail * disk.f_frsize >= size


def pages_of(group: Seq[Append], page_size: int) -> int:
    """About how many pages a group changes: those with its JSON, and one of an index an event."""
    size = sum(append.events.texts.size for append in group)
    return size // page_size + sum(len(append.events) for append in group) + _FEW_PAGES
