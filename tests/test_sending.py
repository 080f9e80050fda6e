"""Answers that were waited for: sent at the end of the turn, and before all else that follows."""

from __future__ import annotations

import socket
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.server import Request

from kpiggybank.web.answers import answer
from kpiggybank.web.bounds import LIMITS
from kpiggybank.web.refusals import LINGER_SECONDS
from kpiggybank.web.routes import Routes
from kpiggybank.web.site import BankSite
from tests.socket_client import HalfCloseableTransport


@attrs.define(eq=False, slots=False)
class App:
    """One route that is answered when the test says so, and one at once."""

    waiting: list[Deferred[bytes]] = attrs.field(factory=list)
    app = Klein()

    @app.route("/later", methods=["GET"])
    def later(self, request: Request) -> Deferred[bytes]:
        """Wait for the test."""
        self.waiting.append(Deferred())
        return self.waiting[-1].addCallback(lambda body: answer(request, body))

    @app.route("/now", methods=["GET"])
    def now(self, request: Request) -> bytes:
        """Do not wait."""
        return answer(request, b"now")

    def tell(self, *bodies: bytes) -> None:
        """Answer those that wait, in order."""
        waiting, self.waiting = self.waiting, []
        for outcome, body in zip(waiting, bodies, strict=True):
            outcome.callback(body)


@attrs.define(eq=False)
class Stage:
    """A site with that app, whose turn of the reactor ends when the test says so."""

    app: App = attrs.field(factory=App)
    clock: Clock = attrs.field(factory=Clock)
    site: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.site = BankSite(Routes(self.app.app, lambda request, failure: failure), self.clock)

    def connect_later(self, *paths: bytes, version: bytes = b"1.1") -> Any:
        """The same, where another one has been answered in this turn."""
        self.connect(b"/later")
        self.app.tell(b"first")
        return self.connect(*paths, version=version)

    def connect(self, *paths: bytes, version: bytes = b"1.1") -> Any:
        """A connection over which these were asked, all at once."""
        connection = self.site.buildProtocol(None)
        connection.makeConnection(HalfCloseableTransport())
        ask(connection, *paths, version=version)
        return connection


def ask(connection: Any, *paths: bytes, version: bytes = b"1.1") -> None:
    """Ask for some paths, all at once."""
    heads = [b"GET %b HTTP/%b\r\nHost: x\r\n\r\n" % (path, version) for path in paths]
    connection.dataReceived(b"".join(heads))


def bodies(connection: Any) -> list[bytes]:
    """The bodies of all answers so far; here they have no line breaks."""
    parts = connection.transport.value().split(b"\r\n\r\n")
    return [part.partition(b"HTTP/1.1 ")[0] for part in parts[1:]]


def test_end_of_the_turn() -> None:
    """What is answered in one turn after the first is sent at its end."""
    stage = Stage()
    connections = [stage.connect(b"/later") for _ in range(3)]
    stage.app.tell(b"one", b"two", b"three")
    assert [*map(bodies, connections)] == [[b"one"], [], []]
    stage.clock.advance(0)
    assert [*map(bodies, connections)] == [[b"one"], [b"two"], [b"three"]]


def test_next_turn() -> None:
    """Each turn sends what it has made."""
    stage = Stage()
    connection = stage.connect(b"/later")
    for count in range(1, 4):
        stage.app.tell(b"here")
        stage.clock.advance(0)
        assert bodies(connection) == [b"here"] * count
        ask(connection, b"/later")


def test_order() -> None:
    """An answer that is made at once comes after the one before it, which was waited for."""
    stage = Stage()
    connection = stage.connect_later(b"/later", b"/now", b"/later")
    stage.app.tell(b"one")
    stage.app.tell(b"three")
    stage.clock.advance(0)
    assert bodies(connection) == [b"one", b"now", b"three"]


def test_asked_again_within_the_turn() -> None:
    """A client that asks on before it has its answer gets both in order."""
    stage = Stage()
    connection = stage.connect_later(b"/later")
    stage.app.tell(b"one")
    ask(connection, b"/now")
    assert bodies(connection) == [b"one", b"now"]
    stage.clock.advance(0)
    assert bodies(connection) == [b"one", b"now"]


def test_nonsense_within_the_turn() -> None:
    """A client that sends what is no request still gets the answer to the one before."""
    stage = Stage()
    connection = stage.connect_later(b"/later")
    stage.app.tell(b"one")
    connection.dataReceived(b"nonsense\r\n\r\n")
    stage.clock.advance(0)
    first, second = connection.transport.value().split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"\r\n\r\none")
    assert second.startswith(b"400 ")


def test_closed_after_the_answer() -> None:
    """A connection that is closed after its answer has sent it before."""
    stage = Stage()
    connection = stage.connect_later(b"/later", version=b"1.0")
    stage.app.tell(b"one")
    assert connection.transport.disconnecting
    assert connection.transport.value().endswith(b"\r\n\r\none")


def test_drained_within_the_turn() -> None:
    """Neither does a site that closes forget it."""
    stage = Stage()
    connection = stage.connect_later(b"/later")
    stage.app.tell(b"one")
    connection.wind_up()
    assert connection.transport.disconnecting
    assert bodies(connection) == [b"one"]


def test_lost_within_the_turn() -> None:
    """A client that goes before its answer is sent is in nobody's way."""
    stage = Stage()
    gone, here = stage.connect_later(b"/later"), stage.connect(b"/later")
    stage.app.tell(b"one", b"two")
    gone.connectionLost(Failure(ConnectionDone()))
    stage.clock.advance(0)
    assert bodies(here) == [b"two"]


class Pipe(HalfCloseableTransport):
    """A transport that writes to a socket, of which the other end is read by the test."""

    dataBuffer, offset, _tempDataLen = b"", 0, 0

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = socket.socketpair()

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self.ours.fileno()

    def write(self, data: bytes) -> None:
        """Write."""
        self.ours.sendall(data)

    def close(self) -> None:
        """Free both ends."""
        self.ours.close()
        self.theirs.close()


def test_refused_while_an_answer_is_read() -> None:
    """What follows a large answer, and is refused, does not cut it as long as it is being read."""
    stage = Stage()
    connection = stage.connect()
    pipe = connection.transport = Pipe()
    ask(connection, b"/later")
    stage.app.tell(b"x" * 120_000)
    connection.dataReceived(b"nonsense\r\n\r\n")
    cut = []
    for size in (40_000, 40_000, 0):
        pipe.theirs.recv(size)
        stage.clock.pump([LINGER_SECONDS] * int(LIMITS.idle_seconds // LINGER_SECONDS))
        cut.append(pipe.disconnected)
    pipe.close()
    assert cut == [False, False, True]


def test_refused_after_all_was_read() -> None:
    """A client that has read its answers has a moment to see the last one."""
    stage = Stage()
    connection = stage.connect()
    pipe = connection.transport = Pipe()
    connection.dataReceived(b"nonsense\r\n\r\n")
    pipe.theirs.recv(10_000)
    stage.clock.advance(LINGER_SECONDS - 1)
    still_there = not pipe.disconnected
    stage.clock.advance(1)
    pipe.close()
    assert still_there
    assert pipe.disconnected


def test_closed_while_more_has_come() -> None:
    """What came behind the last answer, and is dropped, does not keep that from being read."""
    stage = Stage()
    connection = stage.connect()
    pipe = connection.transport = Pipe()
    ask(connection, b"/later", b"/now", version=b"1.0")
    stage.app.tell(b"x" * 100_000)
    assert pipe.half_closed
    assert not pipe.disconnecting
    answered = pipe.theirs.recv(200_000, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
    stage.clock.advance(LINGER_SECONDS)
    pipe.close()
    assert answered.endswith(b"x" * 100_000)
    assert pipe.disconnected
