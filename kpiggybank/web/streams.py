"""How a stream of changes is written: as lines, or as events of the kind that browsers read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from kpiggybank.events import Change
from kpiggybank.pieces import Piece
from kpiggybank.web.formats import NDJSON
from kpiggybank.web.outlet import Outlet

EVENT_STREAM = b"text/event-stream"

#: A browser that lost its stream opens it again after so many milliseconds.
RETRY_MILLISECONDS = 2000

_encode = msgspec.json.Encoder().encode


@attrs.frozen(eq=False)
class StreamFormat:
    """A way to write a stream.

    Attributes:
        content_type: of the answer.
        opening: what is said first, given the cursor where the stream begins.
        heartbeat: what is said in a silence, given the cursor.
        frame: a message, given the name of its kind (empty for a change), the cursor after it, and
            its JSON.
    """

    content_type: bytes
    opening: Callable[[str], bytes]
    heartbeat: Callable[[str], bytes]
    frame: Callable[[str, str, bytes], bytes]

    def piece(self, piece: Piece) -> bytes:
        """A piece, written once for all who read it in this format."""
        return piece.made(self, lambda: self._write(piece))

    def farewell(self, cursor: str, pending: int | None) -> bytes:
        """The last message of a stream that ends in order: the place to go on from.

        Args:
            cursor: that place.
            pending: how many changes there are after it, if that is to be told.
        """
        last = {"last_seq": cursor} if pending is None else {"last_seq": cursor, "pending": pending}
        return self.frame("last_seq", cursor, _encode(last))

    def _write(self, piece: Piece) -> bytes:
        if piece.reset is not None:
            reset = {"reset": piece.cursor, "reason": piece.reset}
            return self.frame("reset", piece.cursor, _encode(reset))
        frame = self.frame
        return b"".join(frame("", change.cursor, _json(change)) for change in piece.changes)


@attrs.frozen(eq=False)
class StreamWriter:
    """Tells a follower's changes to an HTTP client; see `kpiggybank.follower.Listener`."""

    _form: StreamFormat
    _outlet: Outlet

    def take(self, piece: Piece) -> Deferred[None] | None:
        """Write changes, or word of a gap."""
        return self._outlet.send(self._form.piece(piece))

    def silence(self, cursor: str) -> Deferred[None] | None:
        """Write a heartbeat."""
        return self._outlet.send(self._form.heartbeat(cursor))


def _json(change: Change) -> bytes:
    event = change.event
    return b'{"seq":%b,"id":%b,"doc":%b}' % (_encode(change.cursor), _encode(event.id), event.json)


def _line(kind: str, cursor: str, json: bytes) -> bytes:
    return json + b"\r\n"


def _server_sent_event(kind: str, cursor: str, json: bytes) -> bytes:
    # In JSON, control characters are escaped, so that none ends the line. These three are not, and
    # end lines for readers less exact than browsers; JSON knows them by other names as well.
    if not json.isascii():
        json = json.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
        json = json.replace(b"\xc2\x85", b"\\u0085")
    name = b"event: %b\n" % kind.encode() if kind else b""
    return b"%bid: %b\ndata: %b\n\n" % (name, cursor.encode(), json)


def _first_id(cursor: str) -> bytes:
    # An id without data is no event, and yet the browser goes on from there if it loses the stream.
    return b"retry: %d\nid: %b\n\n" % (RETRY_MILLISECONDS, cursor.encode())


def _comment(cursor: str) -> bytes:
    # With the place, so that what was passed over is not looked at again.
    return b":\nid: %b\n\n" % cursor.encode()


LINES: Final = StreamFormat(NDJSON, lambda cursor: b"", lambda cursor: b"\r\n", _line)
SERVER_SENT_EVENTS: Final = StreamFormat(EVENT_STREAM, _first_id, _comment, _server_sent_event)

#: By the value of the parameter `format`.
STREAM_FORMATS: Final = {"ndjson": LINES, "sse": SERVER_SENT_EVENTS}
