"""A client and the server it talks to, played in memory, with time by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar, cast

import attrs
import pytest
from treq.testing import StubTreq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import (
    Deferred,
)
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from kpiggybank._callbacks import Callbacks
from kpiggybank.client import (
    ClientClosed,
    KPIggyBank,
    StreamEnded,
)

reactor = cast(Any, _reactor)
T = TypeVar("T")
E = TypeVar("E", bound=Exception)

EVENT = {"timestamp": 1700000000000, "type": "sign-in"}
LINE = '{"seq":"s1","id":"i1","doc":{"timestamp":1,"mood":"🐷💰é"}}\r\n'.encode()


CALLS: list[Callable[[KPIggyBank], Deferred[Any]]] = [
    lambda api: api.saveData(EVENT, retries=0),
    lambda api: api.fetchRange(),
    lambda api: api.count(),
    lambda api: api.followChanges(),
]
every_call = pytest.mark.parametrize("call", CALLS, ids=["save", "fetch", "count", "follow"])


def line(seq: str, **event: Any) -> bytes:
    """A line of the change stream, its event with a timestamp of 0."""
    doc = {"timestamp": 0, **event}
    return json.dumps({"seq": seq, "id": f"id-{seq}", "doc": doc}).encode() + b"\r\n"


def success_of(deferred: Deferred[T]) -> T:
    """What a Deferred has fired with; the test fails if it has not, or with a failure."""
    results: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "it has not fired"
    return results[0]


def failure_of(deferred: Deferred[Any], kind: type[E]) -> E:
    """The error that a Deferred has failed with; the test fails if there is none of that kind."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    assert failures, "it has not failed"
    error = failures[0].value
    assert isinstance(error, kind), error
    return error


class PlayedServer(Resource):
    """Plays the server: gives each request the next of `answers`, or leaves it open.

    Attributes:
        cursor: what the head of each further answer says of the place where the stream begins.
        retry_after: what the head of each further answer says of the time to ask again.
    """

    isLeaf = True
    cursor: str | None = None
    retry_after: str | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.requests: list[Any] = []
        self.bodies: list[bytes] = []
        self.answers: list[tuple[int, bytes]] = []

    def render(self, request: Request) -> Any:
        """Note the request and answer it, if there is an answer left."""
        self.requests.append(request)
        self.bodies.append(cast(Any, request).content.read())
        if self.cursor is not None:
            request.setHeader("KPIggyBank-Cursor", self.cursor)
        if self.retry_after is not None:
            request.setHeader("Retry-After", self.retry_after)
        if not self.answers:
            return NOT_DONE_YET
        status, body = self.answers.pop(0)
        request.setResponseCode(status)
        return body


@attrs.define(eq=False)
class Stage:
    """A client, the server it talks to, and the clock that both believe in."""

    server: PlayedServer = attrs.field(factory=PlayedServer)
    clock: Clock = attrs.field(factory=Clock)
    stub: Any = attrs.field(init=False)
    api: KPIggyBank = attrs.field(init=False)
    changes: list[Any] = attrs.field(factory=list)
    errors: list[Any] = attrs.field(factory=list)
    loops: list[Deferred[Any]] = attrs.field(factory=list)
    #: What happened, in order: the names of events and what came with them; changes as cursors.
    story: list[tuple[str, Any]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.stub = cast(Any, StubTreq)(self.server)
        self.api = self.client("127.0.0.1", 3000)

    def client(self, *place: Any, **options: Any) -> KPIggyBank:
        """One more client of the same server."""
        return KPIggyBank(*place, treq=self.stub, reactor=self.clock, **options)

    def listen(self) -> None:
        """Listen for everything."""
        self.api.on("change", self.changes.append)
        self.api.on("error", self.errors.append)
        self.api.on("change", lambda change: self._note("change", change["seq"]))
        for name in ("connected", "disconnected", "reset", "error"):
            self.api.on(name, partial(self._note, name))

    def follow(self, since: str | None = None) -> None:
        """Listen for everything and open the stream."""
        self.listen()
        opened = self.api.followChanges(since)
        self.say(b"")
        success_of(opened)

    def read(self, since: str | None = None) -> Deferred[None]:
        """Read the changes in a loop, which is told of in `changes`; its end is the Deferred's."""

        async def loop() -> None:
            async for change in self.api.changes(since):
                self.changes.append(change)

        return self.run(loop())

    def run(self, loop: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Run a loop over changes, which may go on until the client is closed after the test."""
        running = Deferred.fromCoroutine(loop)
        self.loops.append(running)
        return running

    def wait(self) -> float:
        """Let the time pass until something is due; returns the seconds."""
        seconds = min(call.getTime() for call in self.clock.getDelayedCalls())
        seconds -= self.clock.seconds()
        self.clock.advance(seconds)
        self.stub.flush()
        return float(seconds)

    def come_back(self) -> None:
        """Let the client open its stream again after it has lost it."""
        before = len(self.server.requests)
        self.wait()
        assert len(self.server.requests) == before + 1, "it has not tried"
        self.say(b"")

    def _note(self, name: str, value: Any) -> None:
        self.story.append((name, value))

    def asked_since(self) -> list[str]:
        """From where on the stream was asked for, each time."""
        return [request.args[b"since"][0].decode() for request in self.server.requests]

    def say(self, *pieces: bytes) -> None:
        """Write to the latest request, each piece a chunk that arrives by itself."""
        for piece in pieces:
            self.server.requests[-1].write(piece)
            self.stub.flush()

    def finish(self) -> None:
        """End the answer to the latest request in order."""
        self.server.requests[-1].finish()
        self.stub.flush()

    def cut(self) -> None:
        """Cut the connection of the latest request."""
        self.server.requests[-1].transport.loseConnection()
        self.stub.flush()

    def sequences(self) -> list[str]:
        """The cursors of the changes told so far."""
        return [change["seq"] for change in self.changes]

    def told(self, name: str) -> list[Any]:
        """What came with the events of that name so far."""
        return [value for each, value in self.story if each == name]

    def lost(self) -> StreamEnded:
        """What was told of the one connection that was lost, which is no error."""
        (ended,) = self.told("disconnected")
        assert isinstance(ended, StreamEnded)
        assert self.errors == []
        return ended

    def ended(self) -> StreamEnded:
        """The one error told so far, which is the end of the stream."""
        (error,) = self.errors
        assert isinstance(error, StreamEnded)
        return error


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A stage, of which nothing may be left waiting once its client is closed."""
    stage = Stage()
    yield stage
    success_of(stage.api.close())
    for loop in stage.loops:
        loop.addErrback(lambda failure: failure.trap(ClientClosed))
    assert stage.clock.getDelayedCalls() == []


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[LogEvent]:
    """What clients log, which then comes here only."""
    events: list[LogEvent] = []
    monkeypatch.setattr(Callbacks, "_log", Logger(observer=cast(Any, events.append)))
    return events
