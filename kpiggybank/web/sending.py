"""How bytes get into a connection."""

from __future__ import annotations

from typing import Any, TypeGuard

from twisted.internet.abstract import FileDescriptor


def is_idle(transport: Any) -> TypeGuard[FileDescriptor]:
    """Whether a transport writes to a socket itself, and has nothing to write."""
    return (
        isinstance(transport, FileDescriptor)
        and bool(transport.connected)
        # There is no public way to ask for the second.
        and not (transport.dataBuffer or transport._tempDataBuffer)
    )


def send(transport: Any, data: bytes) -> None:
    """Write, and let the kernel have it at once where nothing waits to be written.

    To queue it would cost two system calls more, and a turn of the reactor; for a short answer, or
    a line to a follower, that is a good part of the work.
    """
    sent = transport.writeSomeData(data) if is_idle(transport) else 0
    if not isinstance(sent, int):
        sent = 0  # the connection is lost, as the transport will find out
    if sent < len(data):
        transport.write(data[sent:])
