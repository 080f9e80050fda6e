"""Whole answers and endless ones, read with little work: what is measured is not the reader."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure


class Asker(Protocol):
    """One connection that asks again and again, and gives each answer's body as it came."""

    transport: Any

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._missing = -1
        self._end = b""
        self._expected = b""
        self._answered: Deferred[bytes] | None = None

    def ask(self, request: bytes, expected: bytes = b"HTTP/1.1 200 ") -> Deferred[bytes]:
        """Send a request; fires with the body of its answer, perhaps still in chunks."""
        self._expected, self._pieces, self._missing, self._end = expected, [], -1, b""
        self._answered = Deferred()
        self.transport.write(request)
        return self._answered

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the answer."""
        if self._missing < 0 and not self._end:
            answer = b"".join([*self._pieces, data])
            head, end, data = answer.partition(b"\r\n\r\n")
            if not end:
                self._pieces = [answer]
                return
            if not head.startswith(self._expected):
                self._fail(f"unexpected answer: {answer[:1000]!r}")
                return
            self._pieces = []
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if length:
                self._missing = int(length)
            else:
                self._end = b"\r\n0\r\n\r\n"
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing == 0 or (self._end and self._ended()):
            answered, self._answered = self._answered, None
            assert answered is not None
            answered.callback(b"".join(self._pieces))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No answer comes any more."""
        self._fail("the connection was lost before the end of an answer")

    def _ended(self) -> bool:
        last = self._pieces[-1]
        if len(last) < len(self._end):
            last = b"".join(self._pieces[-len(self._end) :])
        return last.endswith(self._end)

    def _fail(self, text: str) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered.errback(RuntimeError(text))
            self.transport.loseConnection()


class Feed(Protocol):
    """One endless answer, of which the next line that tells of something is awaited."""

    transport: Any

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._lines: list[bytes] = []
        self._waiting: Deferred[bytes] | None = None
        self._head = False

    def connectionMade(self) -> None:
        """Open the feed."""
        self.transport.write(self._request)

    def line(self) -> Deferred[bytes]:
        """The next line with a JSON object in it, read or not read yet; one may wait at a time."""
        waiting = self._waiting = Deferred()
        self._tell()
        return waiting

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the answer."""
        data = self._rest + data
        if not self._head:
            head, end, body = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = data
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                self._fail(f"unexpected answer: {data[:1000]!r}")
                return
            self._head, data = True, body
        # The lines that say how long a chunk is are no objects, nor is a heartbeat.
        *lines, self._rest = data.split(b"\n")
        self._lines += [line for line in lines if line.startswith(b"{")]
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No line comes any more."""
        self._fail("the feed was lost")

    def _tell(self) -> None:
        waiting = self._waiting
        if waiting is not None and self._lines:
            self._waiting = None
            waiting.callback(self._lines.pop(0))

    def _fail(self, text: str) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(RuntimeError(text))


def unchunked(body: bytes) -> bytes:
    """A body without the lengths of its chunks, or as it is where it has none."""
    if body[:1] in b"[{":
        return body
    pieces: list[bytes] = []
    place = 0
    while True:
        end = body.index(b"\r\n", place)
        length = int(body[place:end], 16)
        if length == 0:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + length])
        place = end + length + 4
