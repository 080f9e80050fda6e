"""The outlet on a real connection whose transport is paused, resumed and lost by hand."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface.verify import verifyObject

from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.web import ranges
from kpiggybank.web.outlet import Outlet
from kpiggybank.web.site import BankSite
from tests.socket_client import Server
from tests.web_client import Door, StagedStore, has_fired, result_of

PATIENCE_SECONDS = 7.0


class Unanswered(Resource):
    """Leaves its one request to the test."""

    isLeaf = True
    request: Any = None

    def render(self, request: Request) -> Any:
        """Keep the request."""
        self.request = request
        return NOT_DONE_YET


class FullTransport(StringTransport):
    """A transport whose buffer is full after every write."""

    def write(self, data: bytes) -> None:
        """Write, and ask for a pause while doing so."""
        StringTransport.write(self, data)
        producer: Any = self.producer
        producer.pauseProducing()


def full_transport() -> Any:
    """A transport without a type, as it is one without types."""
    make: Any = FullTransport
    return make()


@attrs.define(eq=False)
class Stage:
    """A request that has arrived, and the transport below it."""

    transport: Any = attrs.field(factory=StringTransport)
    version: bytes = b"1.0"
    clock: Clock = attrs.field(factory=Clock)
    connection: Any = attrs.field(init=False)
    request: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        make: Any = Unanswered
        resource = make()
        site: Any = BankSite(resource, Clock())
        self.connection = site.buildProtocol(None)
        self.connection.makeConnection(self.transport)
        self.connection.dataReceived(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % self.version)
        self.request = resource.request

    @property
    def body(self) -> bytes:
        """What was written after the head."""
        _, end, body = self.transport.value().partition(b"\r\n\r\n")
        assert end, "the head was not sent"
        return bytes(body)

    def pause(self) -> None:
        """Be a transport whose buffer is full."""
        self.transport.producer.pauseProducing()

    def resume(self) -> None:
        """Be a transport whose buffer is empty again."""
        self.transport.producer.resumeProducing()

    def lose(self) -> None:
        """Be a client that goes away."""
        self.connection.connectionLost(Failure(ConnectionDone()))

    def run(self, *pieces: bytes, error: Exception | None = None) -> Deferred[None]:
        """Write pieces through an outlet, and then leave it, by an error perhaps."""

        async def answer() -> None:
            with Outlet(self.request, self.clock, PATIENCE_SECONDS) as outlet:
                for piece in pieces:
                    await outlet.write(piece)
                if error is not None:
                    raise error

        return Deferred.fromCoroutine(answer())


def write(outlet: Outlet, piece: bytes) -> Deferred[None]:
    """One write."""
    return Deferred.fromCoroutine(outlet.write(piece))


def test_provides_the_interface() -> None:
    """An outlet is what a transport expects of a producer."""
    assert verifyObject(IPushProducer, Outlet(Stage().request, Clock(), PATIENCE_SECONDS))


def test_head_at_once() -> None:
    """The head is sent before there is a piece to write."""
    stage = Stage()
    assert stage.transport.value() == b""
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS):
        assert stage.transport.value().startswith(b"HTTP/1.0 200 OK\r\n")
        assert stage.body == b""


def test_write_at_full_speed() -> None:
    """As long as nobody asks for a pause, a write returns at once."""
    stage = Stage()
    result_of(stage.run(b"one ", b"two ", b"three"))
    assert stage.body == b"one two three"


def test_pause_makes_a_write_wait() -> None:
    """The piece of a write in a pause is sent, and the next one waits."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        stage.pause()
        waiting = write(outlet, b"one")
        assert stage.body == b"one"
        assert not has_fired(waiting)
        stage.resume()
        result_of(waiting)


def test_pause_from_within_a_write() -> None:
    """A transport that is full from this very write makes it wait, too."""
    stage = Stage(full_transport())
    done = stage.run(b"one ", b"two")
    assert (stage.body, has_fired(done)) == (b"one ", False)
    stage.resume()
    assert (stage.body, has_fired(done)) == (b"one two", False)
    stage.resume()
    result_of(done)


def test_resume_before_the_write() -> None:
    """A pause that is over when the write comes does not hold it."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        stage.pause()
        stage.resume()
        result_of(write(outlet, b"one"))


def test_pause_twice() -> None:
    """Two pauses are ended by one resumption."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        stage.pause()
        waiting = write(outlet, b"one")
        stage.pause()
        assert not has_fired(waiting)
        stage.resume()
        result_of(waiting)


def test_pause_again() -> None:
    """After a resumption the next pause makes the next write wait."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        stage.pause()
        stage.resume()
        stage.pause()
        waiting = write(outlet, b"one")
        assert not has_fired(waiting)
        stage.resume()
        result_of(waiting)


def test_resume_without_pause() -> None:
    """A transport may resume what was not paused."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        stage.resume()
        result_of(write(outlet, b"one"))


def test_orderly_end() -> None:
    """After the last piece the answer can be finished, and the connection is not cut."""
    stage = Stage()
    result_of(stage.run(b"one"))
    assert stage.request.producer is None
    stage.request.finish()
    assert not stage.transport.disconnected


def test_end_by_an_error() -> None:
    """An error in the middle passes on and cuts the connection."""
    stage = Stage()
    with pytest.raises(ZeroDivisionError):
        result_of(stage.run(b"one", error=ZeroDivisionError()))
    assert stage.transport.disconnected
    assert stage.request.producer is None


def test_end_by_cancelling() -> None:
    """Who cancels the writing cuts an answer that is not complete."""
    stage = Stage(full_transport())
    done = stage.run(b"one")
    done.cancel()
    with pytest.raises(CancelledError):
        result_of(done)
    assert stage.transport.disconnected
    assert stage.request.producer is None


def test_client_goes_away_in_a_pause() -> None:
    """When the client goes, its outlet is left without touching the connection again."""
    stage = Stage(full_transport())
    gone = stage.request.notifyFinish()
    done = stage.run(b"one", b"two")
    # As Klein does it.
    gone.addErrback(lambda reason: done.cancel())
    stage.lose()
    with pytest.raises(CancelledError):
        result_of(done)
    assert stage.body == b"one"
    assert not stage.transport.disconnected


def test_client_goes_away_between_writes() -> None:
    """Leaving an outlet whose client has gone is no error."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        result_of(write(outlet, b"one"))
        stage.lose()
    assert not stage.transport.disconnected


def test_told_to_stop() -> None:
    """A transport that tells the producer to stop changes nothing: the request hears of the end."""
    stage = Stage()
    with Outlet(stage.request, stage.clock, PATIENCE_SECONDS) as outlet:
        outlet.stopProducing()
        result_of(write(outlet, b"one"))
    assert stage.body == b"one"


@ensureDeferred
async def test_cut_on_a_real_connection(
    logged_errors: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that breaks off has no last chunk, and its connection does not end in order."""
    monkeypatch.setattr(ranges, "EVENTS_AT_ONCE", 2)
    store = StagedStore()
    server = Server(Door(store))
    await server.start()
    server.door.save([{"timestamp": n} for n in range(10)])
    store.error, store.good_calls = StoreUnavailable("gone"), 2
    client = await server.connect()
    client.send(b"GET /wsapi/interaction_data HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.until_lost()
    assert not client.server_ended
    assert b"0\r\n\r\n" not in client.received
    await server.stop()
    assert len(logged_errors) == 1
    logged_errors.clear()
