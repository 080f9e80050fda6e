"""The outlet above a kernel that has room for so much at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kpiggybank.web.outlet import SLICE_BYTES, Outlet
from tests.test_outlet import PATIENCE_SECONDS, Stage
from tests.web_client import has_fired, result_of

#: What goes before each piece.
COMMA = b","


class KernelTransport(FileDescriptor):
    """A transport above such a kernel: it writes when a test says so."""

    def __init__(self) -> None:
        super().__init__(cast(Any, Clock()))
        self.connected = 1
        self.room = 0
        self.taken = bytearray()

    def getPeer(self) -> Any:
        """Nobody."""

    getHost = getPeer

    def fileno(self) -> int:
        """None."""
        raise OSError

    def getHandle(self) -> Any:
        """What can be sent to, as a socket."""
        return self

    def sendmsg(self, parts: Iterable[bytes | memoryview]) -> int:
        """Take as much as there is room for."""
        if not self.room:
            raise BlockingIOError
        return self.writeSomeData(b"".join(parts))

    def writeSomeData(self, data: bytes) -> int:
        """Take as much as there is room for."""
        size = min(self.room, len(data))
        self.taken += data[:size]
        self.room -= size
        return size

    def value(self) -> bytes:
        """What was taken."""
        return bytes(self.taken)

    def startWriting(self) -> None:
        """Wait for `doWrite`."""

    stopWriting = startWriting


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("room", [0, 1, 20, SLICE_BYTES + 1, 3 * SLICE_BYTES, 10 * SLICE_BYTES])
def test_kernel_gets_what_it_takes(room: int, version: bytes) -> None:
    """At once, and of the rest no more than a slice waits in the transport; all comes in order."""
    stage = Stage(KernelTransport(), version)
    kernel = stage.transport
    pieces = os.urandom(3 * SLICE_BYTES), b"", b"short", os.urandom(SLICE_BYTES)
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        kernel.room = 10_000
        kernel.doWrite()  # the head
        for piece in pieces:
            kernel.room, before = room, len(kernel.taken)
            waiting = Deferred.fromCoroutine(outlet.write(piece, COMMA))
            assert len(kernel.taken) - before >= min(room, len(piece))
            while not has_fired(waiting):
                assert kernel.producerPaused
                assert len(kernel.dataBuffer) + kernel._tempDataLen <= SLICE_BYTES + 10
                kernel.room = max(room, 5000)
                kernel.doWrite()
            result_of(waiting)
            kernel.room = 10 * SLICE_BYTES
            kernel.doWrite()
    written = [COMMA + piece for piece in pieces]
    if version == b"1.1":
        written = [b"%x\r\n%b\r\n" % (len(each), each) for each in written]
    assert stage.body == b"".join(written)
