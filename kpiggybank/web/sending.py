"""The short way to the socket."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor


def is_idle(transport: Any) -> bool:
    """Whether a transport writes to a socket itself, and has nothing to write."""
    return (
        isinstance(transport, FileDescriptor)
        and bool(transport.connected)
        # There is no public way to ask for the second.
        and not (transport.dataBuffer or transport._tempDataBuffer)
    )


def send_now(transport: Any, *parts: bytes | memoryview) -> None:
    """Hand something to the kernel; the transport, which must be idle, gets what that cannot take.

    To queue it would cost two system calls more, and a turn of the reactor: for a short answer, or
    a line to a follower, that is a good part of the work.
    """
    try:
        sent = transport.getHandle().sendmsg(parts)
    except OSError:
        sent = 0  # the kernel has enough, or the connection is lost, as the transport will see
    if sent < sum(map(len, parts)):
        transport.write(b"".join(parts)[sent:])
