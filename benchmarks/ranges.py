"""A whole range read over HTTP with as little work as possible.

As a program of its own it reads one again and again, prints a line when the first byte is there,
and the number of all bytes at its end: `python -m benchmarks.ranges PORT PATH`.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from http.client import HTTPConnection

import attrs

_END = b"\r\n0\r\n\r\n"  # no event has a line's end in it, so it is nowhere else
_PATIENCE_SECONDS = 60.0


@attrs.frozen
class Read:
    """A range that was read.

    Attributes:
        first_seconds: until the first byte of the body was there.
        seconds: until the last one was.
    """

    first_seconds: float
    seconds: float


class RangeReader:
    """A connection over which ranges are read, as fast as they come."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        self._buffer = memoryview(bytearray(1 << 20))
        self._started = 0.0
        self._tail = b""
        #: Of all that was read so far.
        self.bytes = 0

    def read(self, path: str) -> Read:
        """Read a whole range."""
        first = self.begin(path)
        self.finish()
        return Read(first, time.perf_counter() - self._started)

    def begin(self, path: str) -> float:
        """Ask, and read the first piece; seconds until a byte of the body was there."""
        self._started = time.perf_counter()
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        # The first chunk begins with a line that tells its length.
        while not answer.partition(b"\r\n\r\n")[2].partition(b"\r\n")[2]:
            self._tail = b""
            answer += self._buffer[: self._take()]
        seconds = time.perf_counter() - self._started
        head = answer.partition(b"\r\n\r\n")[0]
        if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
            raise RuntimeError(f"unexpected answer: {head!r}")
        self._tail = answer[-len(_END) :]
        return seconds

    def finish(self) -> None:
        """Read the others."""
        while self._tail != _END:
            self._take()

    def _take(self) -> int:
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise RuntimeError("a range was cut short")
        self.bytes += size
        piece = bytes(self._buffer[max(0, size - len(_END)) : size])
        self._tail = (self._tail + piece)[-len(_END) :]
        return size


def count_events(port: int, path: str) -> int:
    """How many events a range has."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    connection.request("GET", path)
    answer = connection.getresponse()
    mark, found, rest = b'{"timestamp":', 0, b""
    while piece := answer.read(1 << 20):
        found += (rest + piece).count(mark)
        rest = (rest + piece)[1 - len(mark) :]
    connection.close()
    return found


def _read_on(port: int, path: str) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    reader = RangeReader(port)
    try:
        while True:
            reader.begin(path)
            print("reading", flush=True)
            reader.finish()
    finally:
        print(reader.bytes, flush=True)


if __name__ == "__main__":
    _read_on(int(sys.argv[1]), sys.argv[2])
