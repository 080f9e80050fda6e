"""Connections on which nothing happens: how long each may stay, by a clock that tests set."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.socket_client import post
from tests.web_client import Door, StagedStore

PING = b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n"
#: How long a connection may be silent.
SECONDS = 60


@attrs.define(eq=False)
class Stage:
    """A connection that is lost by hand."""

    store: StagedStore = attrs.field(factory=StagedStore)
    clock: Clock = attrs.field(factory=Clock)
    transport: Any = attrs.field(factory=StringTransport)
    connection: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        site: Any = Door(self.store).site(self.clock)
        self.connection = site.buildProtocol(None)
        self.connection.makeConnection(self.transport)

    def hear(self, data: bytes) -> None:
        """Send something to the server."""
        self.connection.dataReceived(data)

    def passes(self, seconds: float) -> bool:
        """Whether so many seconds without a word end the connection."""
        self.clock.advance(seconds)
        return bool(self.transport.disconnecting)

    def lose(self) -> None:
        """Be a client that goes away."""
        self.connection.connectionLost(Failure(ConnectionDone()))


def test_silence() -> None:
    """A connection on which nothing is said is ended after a minute, and not before."""
    stage = Stage()
    assert not stage.passes(SECONDS - 1)
    assert stage.passes(1)


def test_bytes_put_it_off() -> None:
    """The minute begins with the last byte that was heard."""
    stage = Stage()
    for byte in PING[:5]:
        assert not stage.passes(SECONDS - 1)
        stage.hear(bytes([byte]))
    assert not stage.passes(SECONDS - 1)
    assert stage.passes(1)


def test_answer_that_takes_long() -> None:
    """While the answer is ours to give there is no limit, and after it a new minute begins."""
    stage = Stage(StagedStore(hold=Deferred()))
    stage.hear(post(b'{"timestamp":1}'))
    for _ in range(5):
        assert not stage.passes(SECONDS)
    assert stage.store.hold is not None
    stage.store.hold.callback(None)
    assert stage.transport.value().startswith(b"HTTP/1.1 201 ")
    assert not stage.passes(SECONDS - 1)
    assert stage.passes(1)


def test_after_an_answer() -> None:
    """A connection that was served may be silent as long as a new one."""
    stage = Stage()
    assert not stage.passes(SECONDS / 2)
    stage.hear(PING)
    assert not stage.passes(SECONDS - 1)
    assert stage.passes(1)


def test_one_timer() -> None:
    """However many requests there were, a connection has one timer, which ends with it."""
    stage = Stage()
    for _ in range(100):
        stage.clock.advance(0.1)
        stage.hear(PING)
    assert len(stage.clock.getDelayedCalls()) == 1
    stage.lose()
    assert stage.clock.getDelayedCalls() == []


def test_client_that_does_not_take_the_end() -> None:
    """A connection that was ended for its silence, and stays all the same, is cut."""
    stage = Stage()
    assert stage.passes(SECONDS)
    stage.clock.advance(15)
    assert stage.transport.disconnected
