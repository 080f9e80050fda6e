"""How the body of a request becomes a deposit, without keeping all others waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kpiggybank.events import Deposit, EventLimits
from kpiggybank.parsing import from_form, from_json, from_lines, prepare
from kpiggybank.rules import Steps
from kpiggybank.web.answers import UnsupportedMediaType
from kpiggybank.web.bounds import LIMITS, Limits
from kpiggybank.web.compression import gunzip
from kpiggybank.web.formats import JSON, NDJSON
from kpiggybank.web.request import BankRequest

#: A larger body is read in its turn.
AT_ONCE_BYTES = 2**20
#: The work on another one that is done as soon as it is there, and on any in a turn: bytes that are
#: decoded or expanded. It takes some milliseconds; the last event may go beyond.
_WORK_A_TURN = 2**17

_Reader = Callable[[bytes, EventLimits], Steps]

_READERS: dict[bytes, _Reader] = {
    b"application/x-www-form-urlencoded": from_form,
    JSON: from_json,
    NDJSON: from_lines,
}


@attrs.define(eq=False)
class Intake:
    """Reads bodies. Of those that take long there is one at a time, and none in a turn of another.

    Eight kilobytes of gzip may be eight megabytes of JSON, and some JSON takes a hundred times as
    long as other: a few such requests, each read as soon as it is there, would stand in the way of
    everybody else for seconds.

    Args:
        clock: the turns of the reactor.
        limits: what clients may cost.
    """

    _clock: IReactorTime
    _limits: Limits = LIMITS
    _turns: DeferredLock = attrs.field(factory=DeferredLock, init=False)

    def __attrs_post_init__(self) -> None:
        prepare(self._limits.events)

    def read(self, request: BankRequest) -> Deposit | Deferred[Deposit]:
        """The deposit in a request's body, which nobody else keeps.

        Raises, or fails with:
            UnsupportedMediaType: a body of this kind is not taken.
            BadQuery: it is not compressed as it says.
            TooLarge: it has too many bytes when it is expanded.
            InvalidEvent: there is no deposit in it.
        """
        reader, limits = _reader(request), self._limits
        compressed = _is_compressed(request)
        content: Any = request.content
        body = content.getvalue()
        content.close()
        large = len(body) > AT_ONCE_BYTES
        if compressed:
            steps = _expanding(reader, gunzip(body, limits.body_bytes), limits.events)
        else:
            steps = reader(body, limits.events)
        del body  # where nobody else knows it, it is gone as soon as it is read
        deposit = None if large else _work(steps)
        return deposit or Deferred.fromCoroutine(self._read_in_turn(steps))

    async def _read_in_turn(self, steps: Steps) -> Deposit:
        await self._turns.acquire()
        try:
            deposit = None
            while deposit is None:
                await deferLater(self._clock, 0)
                deposit = _work(steps)
            return deposit
        finally:
            self._turns.release()


def _work(steps: Steps) -> Deposit | None:
    """Go on with a body for a turn; what it holds, if that is known now."""
    work = _WORK_A_TURN
    try:
        while work > 0:
            work -= next(steps)
    except StopIteration as end:
        deposit: Deposit = end.value
        return deposit
    return None


def _expanding(reader: _Reader, pieces: Iterator[bytes], limits: EventLimits) -> Steps:
    """Read a body that comes in pieces."""
    body = BytesIO()
    for piece in pieces:
        body.write(piece)
        yield len(piece)
    with body:
        steps = reader(body.getvalue(), limits)
    return (yield from steps)


def _is_compressed(request: BankRequest) -> bool:
    """Whether the body is gzip."""
    encodings = request.fields.get(b"Content-Encoding")
    if encodings is None:
        return False
    match b",".join(encodings).strip().lower():
        case b"identity":
            return False
        case b"gzip" | b"x-gzip":
            return True
        case _:
            raise UnsupportedMediaType("'Content-Encoding' takes gzip and identity")


def _reader(request: BankRequest) -> _Reader:
    """What reads a body of this content type."""
    content_type = request.fields.get(b"Content-Type", (b"",))
    try:
        return _READERS[content_type[-1].split(b";")[0].strip().lower()]
    except KeyError:
        accepted = ", ".join(name.decode() for name in _READERS)
        raise UnsupportedMediaType(f"'Content-Type' takes {accepted}") from None
