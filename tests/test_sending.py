"""Bytes that go to the kernel at once, or wait for their turn."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactor, StringTransport

from kpiggybank.web.sending import is_idle, send


class Socket(FileDescriptor):
    """A transport whose kernel takes so many bytes at a time.

    Attributes:
        room: how many; an exception stands for a connection that is lost.
        taken: what the kernel has.
    """

    connected = 1

    def __init__(self, room: int | BaseException) -> None:
        reactor: Any = MemoryReactor()
        super().__init__(reactor)
        self.room = room
        self.taken = b""

    def writeSomeData(self, data: bytes) -> int | BaseException:
        """Take some bytes."""
        if isinstance(self.room, BaseException):
            return self.room
        self.taken += data[: self.room]
        return min(len(data), self.room)

    def turn(self) -> Any:
        """Be asked by the reactor to write."""
        write: Any = self.doWrite
        return write()


def test_at_once() -> None:
    """Where nothing waits, the kernel has all of it before anything else happens."""
    socket = Socket(room=100)
    send(socket, b"all of it")
    assert socket.taken == b"all of it"
    assert is_idle(socket)


def test_rest_waits() -> None:
    """What the kernel does not take at once is written later."""
    socket = Socket(room=3)
    send(socket, b"all of it")
    assert not is_idle(socket)
    while not is_idle(socket):
        assert socket.turn() is None
    assert socket.taken == b"all of it"


def test_order() -> None:
    """What comes later never overtakes what waits."""
    socket = Socket(room=3)
    send(socket, b"first, ")
    socket.room = 100
    send(socket, b"second")
    assert socket.taken == b"fir"
    socket.turn()
    assert socket.taken == b"first, second"


def test_lost() -> None:
    """A connection that is found to be lost is left for the transport to find out."""
    socket = Socket(room=ConnectionLost())
    send(socket, b"in vain")
    assert isinstance(socket.turn(), ConnectionLost)


def test_other_transports() -> None:
    """A transport that is no socket, such as that of TLS, is just written to."""
    transport = StringTransport()
    send(transport, b"all of it")
    assert transport.value() == b"all of it"
