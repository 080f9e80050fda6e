"""How the C library keeps memory that is free."""

from __future__ import annotations

import ctypes

#: The parameters of `mallopt(3)`.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

#: Blocks below this come from the heap, and so much of it may be free at its end.
_BLOCK_BYTES = 4 * 2**20
_FREE_BYTES = 8 * 2**20


def keep_free_memory() -> None:
    """Keep a few megabytes of free memory instead of giving them back at once.

    By itself glibc gives back each large block, and the kernel clears it when it is wanted again a
    moment later: for a range that took more time than to read it. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)
