"""How the body of a request becomes a deposit, without keeping all others waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from kpiggybank.events import Deposit, EventLimits
from kpiggybank.parsing import from_form, from_json, from_lines
from kpiggybank.web.answers import UnsupportedMediaType
from kpiggybank.web.bounds import LIMITS, Limits
from kpiggybank.web.compression import gunzip
from kpiggybank.web.formats import JSON, NDJSON

#: A body up to this size is read as soon as it is there.
AT_ONCE_BYTES = 2**20

_READERS: dict[bytes, Callable[[bytes, EventLimits], Deposit]] = {
    b"application/x-www-form-urlencoded": from_form,
    JSON: from_json,
    NDJSON: from_lines,
}
#: Pieces that are expanded between two turns of the reactor; 256 KiB.
_PIECES_AT_ONCE = 4

_Read = Callable[[bytes], Deposit]


@attrs.define(eq=False)
class Intake:
    """Reads bodies. Of those that take long there is one at a time, and none in a turn of another.

    Eight kilobytes of gzip may be eight megabytes of JSON: a few such requests, each read as soon
    as it is there, would stand in the way of everybody else for seconds.

    Args:
        clock: the turns of the reactor.
        limits: what clients may cost.
    """

    _clock: IReactorTime
    _limits: Limits = LIMITS
    _turns: DeferredLock = attrs.field(factory=DeferredLock, init=False)

    def read(self, request: Request) -> Deposit | Deferred[Deposit]:
        """The deposit in a request's body, which nobody else keeps.

        Raises, or fails with:
            UnsupportedMediaType: a body of this kind is not taken.
            BadQuery: it is not compressed as it says.
            TooLarge: it has too many bytes when it is expanded.
            InvalidEvent: there is no deposit in it.
        """
        reader, limits = _reader(request), self._limits.events

        def read(body: bytes) -> Deposit:
            return reader(body, limits)

        compressed = _is_compressed(request)
        content: Any = request.content
        body = content.getvalue()
        content.close()
        if compressed:
            pieces = gunzip(body, self._limits.body_bytes)
            plain = BytesIO()
            if _expand(pieces, plain, 2):
                return read(plain.getvalue())
            return Deferred.fromCoroutine(self._in_turn(read, plain, pieces))
        if len(body) <= AT_ONCE_BYTES:
            return read(body)
        return Deferred.fromCoroutine(self._in_turn(read, BytesIO(body), iter(())))

    async def _in_turn(self, read: _Read, plain: BytesIO, pieces: Iterator[bytes]) -> Deposit:
        await self._turns.acquire()
        try:
            await deferLater(self._clock, 0)
            while not _expand(pieces, plain, _PIECES_AT_ONCE):
                await deferLater(self._clock, 0)
            body = plain.getvalue()
            plain.close()
            return read(body)
        finally:
            self._turns.release()


def _expand(pieces: Iterator[bytes], plain: BytesIO, count: int) -> bool:
    """Write so many further pieces; tells whether there were fewer, which is the end."""
    for _ in range(count):
        piece = next(pieces, None)
        if piece is None:
            return True
        plain.write(piece)
    return False


def _is_compressed(request: Request) -> bool:
    """Whether the body is gzip."""
    encodings = request.requestHeaders.getRawHeaders(b"content-encoding")
    if encodings is None:
        return False
    match b",".join(encodings).strip().lower():
        case b"identity":
            return False
        case b"gzip" | b"x-gzip":
            return True
        case _:
            raise UnsupportedMediaType("'Content-Encoding' takes gzip and identity")


def _reader(request: Request) -> Callable[[bytes, EventLimits], Deposit]:
    """What reads a body of this content type."""
    content_type = request.getHeader(b"content-type") or b""
    try:
        return _READERS[content_type.split(b";")[0].strip().lower()]
    except KeyError:
        accepted = ", ".join(name.decode() for name in _READERS)
        raise UnsupportedMediaType(f"'Content-Type' takes {accepted}") from None
