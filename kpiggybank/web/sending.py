"""The short way to the socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.abstract import FileDescriptor

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
