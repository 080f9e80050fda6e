"""How this process deals with memory."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

#: The parameters of `mallopt(3)`.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

#: The reactor has one, and the first other thread, which is the one that writes, another.
_HEAPS = 2

#: How often free memory is given back.
GIVE_BACK_SECONDS = 30.0

#: Blocks below this come from the heap, and so much of it may be free at its end.
_BLOCK_BYTES = 4 * 2**20
_FREE_BYTES = 4 * 2**20

#: Objects that are made before the youngest are searched for cycles; Python's own number is 700,
#: and a single request with a list of events makes many times as many.
_YOUNG_OBJECTS = 5_000
#: Searches after which the older ones are searched, too: about as often as by themselves.
_SEARCHES = 2


def search_less_for_cycles() -> None:
    """Have the garbage collector look at what lives on, such as all modules, no more.

    Without this a sixth of the time in which lists of events are taken went into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _SEARCHES, _SEARCHES)


def keep_free_memory() -> None:
    """Keep a few megabytes of free memory instead of giving them back at once.

    By itself glibc gives back each large block, and the kernel clears it when it is wanted again a
    moment later: for a range that took more time than to read it. It also has a heap for each
    thread, so that what one thread has freed is of no use to the next. Here are two of them: where
    there is one, the thread that writes stops the reactor, or waits for it, in the midst of taking
    memory. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_ARENA_MAX, _HEAPS)
    mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _FREE_BYTES)


def give_back_memory() -> None:
    """Give back what is free anywhere in the heap, and not just at its end.

    After a crowd has gone, a few small things that stay keep the kernel from getting all the memory
    before them. It takes a millisecond or two, more only where there is much to be given back.
    """
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
