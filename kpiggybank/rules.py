"""What holds for an event however it is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator
from contextlib import suppress
from itertools import accumulate

import msgspec

from kpiggybank.events import Deposit, EventLimits, ExcessiveEvent

#: Of a longer text, about so many bytes are worked on at once: what is made of them fits into the
#: processor's own memory, and is there yet when the next piece is worked on. Pieces of 256 KiB took
#: a sixth longer beside the thread that writes.
PIECE_BYTES = 2**16
#: What may stand between the parts of JSON.
SPACES = b" \n\r\t"

#: A body that is read in steps. Each tells the bytes that were worked on, those of events that are
#: decoded; easier work counts less. So others can have their turn between them.
Steps = Generator[int, None, Deposit]

_WHITE = (b" ", b"\n", b"\r", b"\t")

#: The usual limits.
LIMITS = EventLimits()

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: What counts for finding one's place in a list.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
#: A level up is 1, and a level down -1, as signed bytes.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def compact(text: bytes) -> bytes:
    """JSON without the white space between its parts; what is no JSON may stay as it is."""
    if any(white in text for white in _WHITE):
        with suppress(msgspec.DecodeError, RecursionError):
            return msgspec.json.format(text, indent=-1)
    return text


def any_reserved(names: Collection[str]) -> bool:
    """Whether one of an event's members has a name that is kept for us."""
    joined = "\n".join(names)  # to look at all names together is cheaper
    return (joined.startswith("_") or "\n_" in joined) and any(
        name.startswith("_") for name in names
    )


def deeper(text: bytes, levels: int) -> bool:
    """Whether JSON is nested deeper than so many levels."""
    steps = memoryview(_STRING.sub(b"", text).translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0) > levels


def too_deep(text: bytes, levels: int) -> int | None:
    """Which item of a list is deeper than so many levels, if that is so near its beginning."""
    index = level = 0
    for mark in _MARK.finditer(text):
        match mark[0]:
            case b"[" | b"{":
                level += 1
                if level > levels + 1:
                    return index
            case b"]" | b"}":
                level -= 1
            case b"," if level == 1:
                index += 1
    return None


def limit_size(size: int, index: int, limits: EventLimits) -> None:
    """Refuse an event that is too large: its bytes without white space, and its place."""
    if size > limits.event_bytes:
        most = limits.event_bytes
        raise ExcessiveEvent(f"event {index} is too large: an event may have {most} bytes")


def too_many(limits: EventLimits) -> ExcessiveEvent:
    """The refusal of more events than there may be."""
    count = limits.events
    return ExcessiveEvent(f"event {count} is one too many: a request may have {count} of them")
