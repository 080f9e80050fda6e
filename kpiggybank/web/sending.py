"""The short way to the socket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorTime

Bytes = bytes | memoryview


def offer(channel: Any, parts: Sequence[Bytes]) -> Sequence[Bytes]:
    """Hand as much of something to the kernel as that takes, unless something waits before it.

    Returns:
        the rest.
    """
    sent = 0
    if parts and _is_idle(channel.transport):
        try:
            sent = channel.transport.getHandle().sendmsg(parts)
        except OSError:  # the kernel has enough, or the connection is lost: the transport will see
            sent = 0
    if sent == sum(map(len, parts)):
        return ()
    left: list[Bytes] = []
    for part in parts:
        if sent < len(part):
            left.append(memoryview(part)[sent:])
        sent = max(sent - len(part), 0)
    return left


def _is_idle(transport: Any) -> bool:
    """Whether a transport writes to a socket itself, and has nothing to write."""
    return (
        isinstance(transport, FileDescriptor)
        and bool(transport.connected)
        # There is no public way to ask for the second.
        and not (transport.dataBuffer or transport._tempDataBuffer)
    )


def send_now(channel: Any, *parts: bytes) -> None:
    """Send something; what the kernel takes goes there at once, and the transport gets the rest.

    To queue it would cost two system calls more, and a turn of the reactor: for a short answer, or
    a line to a follower, that is a good part of the work.
    """
    for part in offer(channel, parts):
        channel.write(bytes(part))


def unread(transport: Any) -> int:
    """Bytes that wait for the reader, in the transport and in the kernel; 0 where nobody knows."""
    try:
        kernel = ioctl(transport.fileno(), TIOCOUTQ, bytes(4))
    except (AttributeError, OSError):
        return 0
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return waiting + int.from_bytes(kernel, sys.byteorder)


@attrs.define(eq=False)
class Outbox:
    """Answers that were waited for, until all of this turn of the reactor are made.

    They are made in groups: the store tells of many events, or ranges, at once. If each was sent
    when it is made, a reader of many would fall asleep and be woken again for each, and to wake
    somebody takes the kernel longer than all else about a small answer. The first of a turn is sent
    at once, as it may be the only one.

    Before anything else is written to a connection, or it is closed, `send` must be called.

    Args:
        reactor: knows when that is.
    """

    _reactor: IReactorTime
    _answers: dict[Any, bytes] = attrs.field(factory=dict, init=False)
    _holds: bool = attrs.field(default=False, init=False)

    def put(self, channel: Any, answer: bytes) -> None:
        """Send this over a connection, now or soon; nothing else of it may be here."""
        if self._holds:
            self._answers[channel] = answer
            return
        send_now(channel, answer)
        self._holds = True
        self._reactor.callLater(0, self._send_all)

    def send(self, channel: Any) -> None:
        """Send what is here for a connection, if anything is."""
        answer = self._answers.pop(channel, None)
        if answer is not None:
            send_now(channel, answer)

    def _send_all(self) -> None:
        self._holds = False
        for channel in tuple(self._answers):
            self.send(channel)
