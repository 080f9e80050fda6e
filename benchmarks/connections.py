"""A lean load: plain sockets that send requests and check each answer's status and length."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterable
from math import inf
from selectors import EVENT_READ, EVENT_WRITE

import attrs

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_PATIENCE_SECONDS = 60.0


class Connection:
    """One connection, one request after the other.

    Args:
        port: where the server listens, on 127.0.0.1.
        expected: how an answer must begin; any other is an error.
    """

    def __init__(self, port: int, expected: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expected = expected
        self._unsent = memoryview(b"")
        self._answer = b""
        #: Of the newest complete answer.
        self.body = b""

    def ask(self, request: bytes) -> bytes:
        """Send a request and wait for its answer: the body."""
        self.socket.sendall(request)
        while not self.receive():
            pass
        return self.body

    def begin(self, request: bytes) -> bool:
        """Begin to send a request; whether all of it is sent."""
        self._unsent = memoryview(request)
        return self.go_on()

    def go_on(self) -> bool:
        """Send on; whether all is sent."""
        self._unsent = self._unsent[self.socket.send(self._unsent) :]
        return not self._unsent

    def receive(self) -> bool:
        """Take what is there of an answer; whether that is all of it.

        Raises:
            RuntimeError: another answer than the expected one, or none at all.
        """
        data = self.socket.recv(1 << 18)
        answer = self._answer + data if self._answer else data
        end = answer.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(answer, 0, end)
        complete = int(length[1]) + end if length else 0
        if (
            not data
            or (end > 3 and not length)
            or not answer.startswith(self._expected[: len(answer)])
            or (length and len(answer) > complete)
        ):
            raise RuntimeError(f"unexpected answer: {answer[:1000]!r}")
        if not length or len(answer) < complete:
            self._answer = answer
            return False
        self._answer, self.body = b"", answer[end:]
        return True

    def close(self) -> None:
        """Leave."""
        self.socket.close()


@attrs.frozen
class Answered:
    """What became of a load: the answers, and how long they took.

    Attributes:
        answers: their number.
        seconds: from the first request to the last answer.
        cpu_seconds: what this process has used of its core meanwhile.
    """

    answers: int
    seconds: float
    cpu_seconds: float


def load(
    port: int,
    requests: Iterable[bytes],
    expected: bytes,
    connections: int,
    seconds: float = inf,
) -> Answered:
    """Send requests, on each connection the next one as soon as the one before is answered.

    Args:
        port: where the server listens.
        requests: whole HTTP/1.1 requests, sent in turn.
        expected: how each answer must begin.
        connections: how many send at a time.
        seconds: after which no more are sent; without it, all are.
    """
    source = iter(requests)
    selector = selectors.EpollSelector()
    opened = [Connection(port, expected) for _ in range(connections)]
    for each in opened:
        each.socket.setblocking(False)
        selector.register(each.socket, EVENT_READ, each)
    started, cpu = time.perf_counter(), time.process_time()
    last = started + seconds
    answers = waiting = 0

    def send(connection: Connection) -> int:
        request = next(source, None) if time.perf_counter() < last else None
        if request is None:
            return 0
        if not connection.begin(request):
            selector.modify(connection.socket, EVENT_READ | EVENT_WRITE, connection)
        return 1

    for each in opened:
        waiting += send(each)
    while waiting:
        ready = selector.select(_PATIENCE_SECONDS)
        if not ready:
            raise RuntimeError("the server has not answered for too long")
        for key, events in ready:
            connection: Connection = key.data
            if events & EVENT_WRITE and connection.go_on():
                selector.modify(connection.socket, EVENT_READ, connection)
            if events & EVENT_READ and connection.receive():
                answers += 1
                waiting += send(connection) - 1
    answered = Answered(answers, time.perf_counter() - started, time.process_time() - cpu)
    selector.close()
    for each in opened:
        each.close()
    return answered
