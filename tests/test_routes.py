"""Routes that are found in a table, and what becomes of a request whose client goes."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from twisted.web.server import Request

from kpiggybank.web.answers import answer
from kpiggybank.web.routes import Routes
from kpiggybank.web.site import BankSite


@attrs.define(eq=False, slots=False)
class App:
    """A route that is answered when the test says so, and one with a piece of its path in it."""

    outcome: Deferred[bytes] = attrs.field(factory=Deferred)
    cancelled: bool = False
    failures: list[Failure] = attrs.field(factory=list)
    app = Klein()

    @app.route("/wait", methods=["GET"])
    def wait(self, request: Request) -> Deferred[bytes]:
        """Wait for the test."""
        return self.outcome.addCallback(lambda body: answer(request, body))

    @app.route("/named/<name>", methods=["GET"])
    def named(self, request: Request, name: str) -> bytes:
        """Say what was asked for."""
        return answer(request, name.encode())

    @app.handle_errors(Exception)
    def failed(self, request: Any, failure: Failure) -> bytes:
        """Keep the failure."""
        self.failures.append(failure)
        return answer(request, b"sorry", 500)


@attrs.define(eq=False)
class Stage:
    """The app behind a connection that is lost by hand."""

    app: App = attrs.field(factory=App)
    transport: Any = attrs.field(factory=StringTransport)
    connection: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        site: Any = BankSite(Routes(self.app.app, self.app.failed), Clock())
        self.connection = site.buildProtocol(None)
        self.connection.makeConnection(self.transport)

    def get(self, path: bytes) -> bytes:
        """Make a request; all bytes that were answered so far."""
        self.connection.dataReceived(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        return bytes(self.transport.value())

    def lose(self) -> None:
        """Be a client that goes away."""
        self.connection.connectionLost(Failure(ConnectionDone()))


def test_later_answer() -> None:
    """A route that is answered later is answered then."""
    stage = Stage()
    assert stage.get(b"/wait") == b""
    stage.app.outcome.callback(b"here")
    assert stage.transport.value().endswith(b"\r\n\r\nhere")


def test_failure_later() -> None:
    """A route that fails later is answered by the app's handler of errors."""
    stage = Stage()
    stage.get(b"/wait")
    stage.app.outcome.errback(ZeroDivisionError())
    assert stage.transport.value().endswith(b"\r\n\r\nsorry")
    assert [failure.type for failure in stage.app.failures] == [ZeroDivisionError]


def test_route_with_a_variable() -> None:
    """What cannot be in a table is found by Klein."""
    assert Stage().get(b"/named/pig").endswith(b"\r\n\r\npig")


def test_client_goes() -> None:
    """When the client goes, the work is cancelled, and nobody makes an answer or a line of log."""
    stage = Stage()
    work: Deferred[bytes] = Deferred(lambda _: setattr(stage.app, "cancelled", True))
    stage.app.outcome = work
    stage.get(b"/wait")
    stage.lose()
    assert stage.app.cancelled
    assert stage.app.failures == []


def test_outcome_after_the_client_has_gone() -> None:
    """What is done all the same, after its client has gone, is nobody's answer."""
    stage = Stage()
    stage.app.outcome = Deferred(lambda work: work.callback(b"done all the same"))
    stage.get(b"/wait")
    stage.lose()
    assert stage.transport.value() == b""


def test_failure_after_the_client_has_gone(logged_errors: list[LogEvent]) -> None:
    """A mistake that shows when the client has gone is told to the log."""
    stage = Stage()
    stage.app.outcome = Deferred(lambda work: work.errback(ZeroDivisionError()))
    stage.get(b"/wait")
    stage.lose()
    assert stage.app.failures == []
    (error,) = logged_errors
    assert error["log_failure"].check(ZeroDivisionError)
    logged_errors.clear()


def test_handler_of_errors_that_fails(
    logged_errors: list[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in the making of an answer is told to the log, and nobody waits for it in vain."""
    app = App()
    monkeypatch.setattr(app, "failed", lambda request, failure: 1 / 0)
    stage = Stage(app)
    stage.get(b"/wait")
    app.outcome.errback(ValueError())
    assert stage.transport.disconnected
    (error,) = logged_errors
    assert error["log_failure"].check(ZeroDivisionError)
    logged_errors.clear()
