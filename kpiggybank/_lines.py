"""What the change stream says, line by line."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

#: The server is asked to send at least an empty line in so many seconds.
HEARTBEAT_SECONDS = 15

#: Silence after which the connection counts as dead: three heartbeats lost.
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS

#: The header of an answer that says at which place the stream begins.
CURSOR_HEADER = "KPIggyBank-Cursor"

Change = dict[str, Any]


class StreamEnded(Exception):
    """A connection of a change stream is over, and maybe the stream with it.

    Attributes:
        reason: why, in words.
        cursor: the place up to which all was delivered: that of the last change or, when the server
            ended the stream in order, the one it said farewell with. None when it never told any.
    """

    def __init__(self, reason: str, cursor: str | None) -> None:
        super().__init__(reason, cursor)
        self.reason = reason
        self.cursor = cursor

    def __str__(self) -> str:
        return f"{self.reason} (cursor {self.cursor})"


@attrs.frozen
class Farewell:
    """The server ends the stream in order; the place is where to go on."""

    cursor: str


@attrs.frozen
class Reset:
    """The server does not know what came next any more; the place is where it goes on."""

    cursor: str
    reason: str


def told_in(line: bytes) -> Change | Reset | Farewell:
    """What a line says that is no heartbeat.

    Raises:
        ValueError: it is none of the three. The line itself is not in the message: it may be an
            event, and the text may be logged.
    """
    try:
        value: Any = msgspec.json.decode(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a line of {len(line)} bytes is not JSON: {error}") from None
    match value:
        case {"seq": str(), "id": str(), "doc": dict()}:
            change: Change = value
            return change
        case {"last_seq": str(cursor)}:
            return Farewell(cursor)
        case {"reset": str(cursor), "reason": str(reason)}:
            return Reset(cursor, reason)
    raise ValueError(f"a line of {len(line)} bytes is no change")
