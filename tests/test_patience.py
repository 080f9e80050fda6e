"""Connections on which nothing happens: how long each may stay, by a clock that tests set."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kpiggybank.web.bounds import LIMITS, Limits
from tests.socket_client import post
from tests.web_client import Door, StagedStore

PING = b"GET /wsapi/ping HTTP/1.1\r\nHost: x\r\n\r\n"
#: How long a connection may be silent between requests, and how long these may take to arrive.
SECONDS, HEAD_SECONDS, BODY_SECONDS = 60, 10, 30


@attrs.define(eq=False)
class Stage:
    """A connection that is lost by hand."""

    store: StagedStore = attrs.field(factory=StagedStore)
    clock: Clock = attrs.field(factory=Clock)
    limits: Limits = LIMITS
    transport: Any = attrs.field(factory=StringTransport)
    connection: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        site: Any = Door(self.store, limits=self.limits).site(self.clock)
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
    """A new connection on which nothing is said is ended when a head should have come."""
    stage = Stage()
    assert not stage.passes(HEAD_SECONDS - 1)
    assert stage.passes(1)


def test_slow_head() -> None:
    """A head that comes a byte a second has no more time than any other."""
    stage = Stage()
    for byte in PING[: HEAD_SECONDS - 1]:
        stage.hear(bytes([byte]))
        assert not stage.passes(1)
    stage.hear(b"x")
    assert stage.passes(1)


@pytest.mark.parametrize("head", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_slow_body(head: bytes) -> None:
    """A body has its time from the end of the head on, however often a byte of it comes."""
    stage = Stage()
    assert not stage.passes(HEAD_SECONDS - 1)
    stage.hear(post(b"", head))
    for _ in range(BODY_SECONDS - 1):
        stage.hear(b"1" if head.startswith(b"Content") else b"1\r\nx\r\n")
        assert not stage.passes(1)
    assert stage.passes(1)


def test_slow_head_of_a_later_request() -> None:
    """The time for a head begins with its first byte, also on a connection that was idle."""
    stage = Stage()
    stage.hear(PING)
    assert not stage.passes(SECONDS - 1)
    stage.hear(PING[:5])
    assert not stage.passes(HEAD_SECONDS - 1)
    stage.hear(PING[5:] + PING[:5])
    assert not stage.passes(HEAD_SECONDS - 1)
    assert stage.passes(1)


def test_other_times() -> None:
    """The times are settings."""
    stage = Stage(limits=Limits(head_seconds=2, body_seconds=3, idle_seconds=4))
    assert not stage.passes(1)
    stage.hear(post(b"", b"Content-Length: 15"))
    assert not stage.passes(2)
    stage.hear(b'{"timestamp":1}')
    assert not stage.passes(3)
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
    """A connection that was served may be silent for a minute."""
    stage = Stage()
    assert not stage.passes(HEAD_SECONDS / 2)
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
    assert stage.passes(HEAD_SECONDS)
    stage.clock.advance(15)
    assert stage.transport.disconnected
